#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "stages/stage.h"

/// Decoding one input: the transforms of a graph, from the opened file to the items that language
/// stages take. Free of engine and scheduler, so that it may run in another process (process.h).
namespace reelfolio::stages {

/// The transforms of a graph and how they hang together. Immutable while inputs are decoded.
struct DecodePlan {
  /// Stands for the input itself in `from` and wherever a stage is named by its index.
  static constexpr int kInputs = -1;
  struct Stage {
    std::string name;
    const Transform* transform = nullptr;  ///< borrowed; null: a language stage, which is not run here
    std::vector<int> from;                 ///< indices in `stages`, or kInputs
    std::vector<ItemType> receives;        ///< what it takes of what its sources make
  };
  std::vector<Stage> stages;

  /// Whether `stage` takes an item of `type` that `source` made.
  bool takes(int stage, int source, ItemType type) const;
};

/// What decoding reports, in the order in which it happens, on the thread that decodes.
class DecodeEvents {
 public:
  virtual ~DecodeEvents() = default;
  /// `stage` made an item; `item.input` is the decoded input. is_new: the stage cut `item.unit`
  /// just now. Blocks while there is no room; throws Cancelled where decoding shall end.
  virtual void emitted(int stage, Item item, bool is_new) = 0;
  /// All that the transforms make of this unit has been emitted.
  virtual void unit_closed(const std::shared_ptr<const Unit>& unit) = 0;
  /// A part of the input failed, or with a null unit something of the whole.
  virtual void failed(int stage, std::shared_ptr<const Unit> unit, const std::string& code,
                      const std::string& message) = 0;
  virtual bool stopped() const { return false; }
  /// `part` of the input, from 0 to 1, is through a stage that opens inputs.
  virtual void advanced(double part) { (void)part; }
  /// Emitter::count_tokens; without a model at hand the estimate.
  virtual std::size_t count_tokens(std::string_view text) const { return estimated_tokens(text); }
  /// From now on `stage` is at work, or with kInputs none.
  virtual void working(int stage) { (void)stage; }
};

/// Time that one thread spends for each stage. Stages nest as workers emit; each is charged for its
/// own time. Not thread-safe.
class StageTimer {
 public:
  /// Time that belongs to no stage (waiting for room).
  static constexpr int kNobody = -2;
  struct Cost {
    double seconds = 0;
    std::uint64_t items = 0;
  };

  /// now_s: seconds since some fixed moment.
  StageTimer(std::function<double()> now_s, std::size_t num_stages)
      : now_s_(std::move(now_s)), costs_(num_stages + 1) {}

  void enter(int stage) {
    charge();
    nested_.push_back(stage);
  }
  void leave() {
    charge();
    nested_.pop_back();
  }
  void count_item(int stage) { ++costs_[stage + 1].items; }
  /// Adds what another timer measured; one entry for each entry of costs().
  void add(const std::vector<Cost>& costs);
  /// Of stage s at s + 1.
  const std::vector<Cost>& costs() const { return costs_; }

 private:
  void charge();

  std::function<double()> now_s_;
  double since_s_ = 0;
  std::vector<int> nested_;
  std::vector<Cost> costs_;
};

class TimedStage {
 public:
  TimedStage(StageTimer& timer, int stage) : timer_(timer) { timer_.enter(stage); }
  ~TimedStage() { timer_.leave(); }
  TimedStage(const TimedStage&) = delete;
  TimedStage& operator=(const TimedStage&) = delete;

 private:
  StageTimer& timer_;
};

/// Something broke that is no input's fault as far as can be told; also the code of its record.
constexpr const char* kInternalError = "internal.error";

/// What one decoder thread does with an input. Not thread-safe.
class DecoderThread {
 public:
  virtual ~DecoderThread() = default;
  /// As probe_input (probe.h).
  virtual InputFile probe(const std::filesystem::path& path, const std::string& name,
                          const std::function<bool()>& stopped) = 0;
  /// Runs all transforms over `input`, that was probed last or any other. Throws Cancelled as soon as
  /// `events` does, or soon after it says that it is stopped.
  virtual void decode(const std::shared_ptr<const InputFile>& input, DecodeEvents& events) = 0;
  /// What was probed last will not be decoded.
  virtual void forget() {}
};

/// Decodes in the calling thread. Owns the workers, with what they have open; borrows plan and timer.
class InputDecoder : public DecoderThread {
 public:
  InputDecoder(const DecodePlan& plan, StageTimer& timer)
      : plan_(plan), timer_(timer), workers_(plan.stages.size()) {}

  InputFile probe(const std::filesystem::path& path, const std::string& name,
                  const std::function<bool()>& stopped) override;

  /// Runs all transforms over `input`. An item goes to events first, then through the transforms
  /// that take it. What a transform cannot do becomes a failure of its unit or of the input; one
  /// that breaks down (an exception that is no ItemError) ends the work on this input.
  /// Throws Cancelled as soon as `events` does.
  void decode(const std::shared_ptr<const InputFile>& input, DecodeEvents& events) override;

 private:
  class StageEmitter;
  struct BrokenDown {};

  void offer(int source, const Item& item, DecodeEvents& events);
  void process(int stage, const Item& item, DecodeEvents& events);
  void emitted(int stage, Item item, DecodeEvents& events);
  void end_input(DecodeEvents& events);

  const DecodePlan& plan_;
  StageTimer& timer_;
  std::vector<std::unique_ptr<Transform::Worker>> workers_;
  std::shared_ptr<const InputFile> input_;  ///< in hand
};

}  // namespace reelfolio::stages
