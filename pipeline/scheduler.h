#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "pipeline/clock.h"
#include "pipeline/graph.h"
#include "pipeline/history.h"
#include "pipeline/progress.h"
#include "stages/decoder/server.h"
#include "stages/stage.h"

/// Runs a Graph over inputs: decoder threads run the transforms of one input each and feed
/// a queue bounded in bytes; the calling thread runs the engine, which takes items from it as it has
/// room and works on those of many units and inputs together; a writer thread hands finished inputs
/// to the sink in input order, whatever order they finish in.
///
/// What a sink receives depends on the graph, the inputs and the model alone:
///   units   by the stage that cut them (in graph order), then by index; each one that was
///           emitted, with or without results
///   errors  those of units in that order, then those of the whole input; of one unit by stage
///   status  ok       no error
///           partial  errors, and a unit with a result (or one that nothing failed on and no
///                    language stage takes)
///           failed   errors and nothing else
///           skipped  no stage takes this kind of input; no errors
namespace reelfolio::pipeline {

struct RunSummary {
  std::size_t inputs = 0;  ///< written: the sum of the four below
  std::size_t ok = 0;
  std::size_t partial = 0;
  std::size_t failed = 0;
  std::size_t skipped = 0;
  std::size_t units = 0;
  std::size_t reused = 0;    ///< inputs whose result came from the history
  bool interrupted = false;  ///< stop was requested before the end
  /// Seconds of work and tokens by stage name, for the run report. "inputs" is the reading
  /// and hashing of inputs. A transform's seconds are its own, without what waits for room in
  /// the queue or runs further down; a language stage's are the engine's share in its answers.
  struct StageCost {
    double seconds = 0;
    std::uint64_t items = 0;
    std::uint64_t prompt_tokens = 0;
    std::uint64_t generated_tokens = 0;
    std::uint64_t known_answers = 0;  ///< taken from the history
  };
  std::map<std::string, StageCost> stage_costs;
};

/// One input as listed, before it is opened. See input_list.h.
struct ListedInput {
  std::filesystem::path path;
  std::string name;   ///< as records show it
  std::string error;  ///< not empty: it cannot be read (missing, no permission); becomes a failed input
  std::uint64_t size_bytes = 0;  ///< for the time left; 0: not known
};

/// Opens an input and tells what it is. Called on decoder threads, at once. Throws ItemError.
using ProbeFunction =
    std::function<stages::InputFile(const std::filesystem::path& path, const std::string& name)>;

struct RunOptions {
  ProbeFunction probe;           ///< empty: what decodes the input looks at it
  const Clock* clock = nullptr;  ///< borrowed; null: steady_clock()
  History* history = nullptr;    ///< borrowed; null: every input is done anew
  /// Borrowed; of the graph's decode_plan. Each input is decoded in a process of its own. Null: all in
  /// this one.
  stages::DecoderServer* decoders = nullptr;
};

/// `engine` may be null if the graph has no language stage. Throws OutputError and whatever
/// is not an input's fault (an engine that breaks down); an input's own failures become its
/// records. No thread outlives the call.
///
/// A stop makes emitters throw Cancelled and the engine cut its answers off; inputs in flight
/// are dropped, the sink is not finished, and the summary says `interrupted`. It may be
/// requested from any thread, not from a signal handler.
///
/// The sink, and the history's `record` and `flush`, are called on the writer thread; `flush` at least
/// every second while there is something new, and before the sink is finished.
///
/// Memory: at most limits.queue_bytes of pictures (or one item, where that is more) wait or are
/// being answered, beside what each decoder holds; results of limits.inputs_in_flight inputs.
RunSummary run_graph(const Graph& graph, const std::vector<ListedInput>& inputs, engine::Engine* engine,
                     stages::Sink& sink, Progress& progress, std::stop_token stop,
                     const RunOptions& options = {});

}  // namespace reelfolio::pipeline
