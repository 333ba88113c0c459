#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "stages/error.h"
#include "stages/item.h"
#include "stages/params.h"
#include "stages/record.h"

/// The stage contract. A stage is immutable once built, so any thread may use it.
///
/// There are two kinds. A Transform (split_scenes, sample_frames, render_pages, ...)
/// opens files and makes items; it runs in decoder threads, through a Worker that
/// holds what is open. A LanguageStage (caption, ask, extract, ...) turns an item into
/// requests and their answers into a result; the scheduler owns the engine call, so
/// that the requests of all language stages on one unit go to the engine together and
/// share the prefill of the pictures they have in common.
namespace reelfolio::stages {

/// About how many tokens a large vocabulary makes of `text`; depends on nothing else.
std::size_t estimated_tokens(std::string_view text);

/// Receives what a worker makes. Called on the worker's own thread. `emit` blocks while
/// the scheduler holds as many pictures as it may, and throws Cancelled once the run stops.
class Emitter {
 public:
  virtual ~Emitter() = default;
  virtual void emit(Item item) = 0;
  /// A part of the input failed (a page, a scene) and the worker goes on with the next.
  /// `unit` says which; null means the input as a whole is affected (a truncated end).
  virtual void error(const ItemError& error, std::shared_ptr<const Unit> unit) = 0;
  /// True once the run stops. Workers that compute or read for long between items ask, and
  /// throw Cancelled.
  virtual bool stopped() const { return false; }
  /// How much of the input is through this worker, from 0 to 1: what the time left is
  /// reckoned from. Need not be called.
  virtual void advanced(double part) { (void)part; }
  /// How many tokens the model in use reads `text` as. Without a model: an estimate that
  /// depends on the text alone.
  virtual std::size_t count_tokens(std::string_view text) const { return estimated_tokens(text); }
};

/// Thrown through a worker when the run is stopped; workers let it pass.
struct Cancelled {};

/// What a transform may depend on, beside its parameters.
struct StageContext {
  std::string stage_name;               ///< its key in the graph
  std::filesystem::path graph_folder;   ///< relative paths in parameters start here
  std::filesystem::path password_file;  ///< --password-file; empty if none
  std::vector<ItemType> receives{};     ///< what its sources give it; empty: not known
};

class Transform {
 public:
  /// State of one decoder thread: open files, scratch buffers. Not thread-safe.
  class Worker {
   public:
    virtual ~Worker() = default;
    /// Makes items from `item`, whose type is one that the stage accepts. Throws
    /// ItemError if nothing (more) can be made of it; what was emitted stays valid.
    virtual void process(const Item& item, Emitter& out) = 0;
    /// The input is done: close what is open.
    virtual void end_input() {}
  };

  virtual ~Transform() = default;
  virtual std::unique_ptr<Worker> make_worker() const = 0;
};

/// What a language stage made of one unit.
struct UnitValue {
  std::shared_ptr<const Unit> unit;
  const Json* value = nullptr;  ///< borrowed
};

class LanguageStage {
 public:
  virtual ~LanguageStage() = default;
  /// Requests for one item that carries pictures, sound or text. There may be none: the result
  /// is known without the model then (silence). Throws ItemError if the item cannot be asked about.
  virtual std::vector<engine::Request> requests(const Item& item) const = 0;
  /// The value under the stage's name in the unit's line. `answers` belong to `requests(item)`.
  virtual Json result(const Item& item, std::span<const engine::Answer> answers) const = 0;
  /// The value under the stage's name in the line that closes the input: what the results of
  /// its units, in unit order, come to together. Null: the stage says nothing about inputs as
  /// a whole. `values` is not empty.
  virtual Json merged(std::span<const UnitValue> values) const {
    (void)values;
    return nullptr;
  }
  /// What influences results beside the parameters and the files that they name (pictures that
  /// such a file refers to), as a hash; empty: nothing.
  virtual std::string fingerprint() const { return {}; }
  /// The value of a unit that came in several items (Item::sound): that of the earlier ones with
  /// that of the next. Stages that take no such items never see the call.
  virtual Json joined(Json earlier, Json next) const {
    (void)earlier;
    (void)next;
    throw std::logic_error("a unit came in two items to a stage that takes one");
  }
};

/// Where finished inputs go, in input order. Called from one thread.
class Sink {
 public:
  virtual ~Sink() = default;
  /// Writes all lines of one input. Throws OutputError (see write_jsonl.h).
  virtual void write(const InputResult& result) = 0;
  /// Every input is written: flush and make the result durable.
  virtual void finish() = 0;
};

/// One row of the registry: a name of `use:` and all that the graph must know about it.
struct StageType {
  std::string_view name;
  std::string_view help;  ///< one sentence
  std::vector<ItemType> accepts;
  std::vector<ItemType> produces;  ///< empty for language stages
  /// What of `produces` it makes of what it receives; null: all of it.
  std::vector<ItemType> (*gives)(const std::vector<ItemType>& receives) = nullptr;
  /// A stage type that the graph puts in front where a source gives nothing that this type takes
  /// and that one does; empty: none.
  std::string_view through{};
  std::vector<ParamSpec> params;
  /// Exactly one of the two is set. They throw ParamError.
  std::unique_ptr<Transform> (*make_transform)(const Params&, const StageContext&) = nullptr;
  std::unique_ptr<LanguageStage> (*make_language)(const Params&, const StageContext&) = nullptr;
};

/// All stage types, sorted by name. A new stage is a row in registry.cpp.
std::span<const StageType> stage_types();
/// Null if there is none of that name.
const StageType* find_stage_type(std::string_view name);

}  // namespace reelfolio::stages
