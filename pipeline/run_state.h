#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "pipeline/result_builder.h"
#include "pipeline/scheduler.h"

/// What the threads of a run share (scheduler.h): decoders (decoding.h), the thread that runs the
/// engine (answering.h) and the writer (scheduler.cpp).
namespace reelfolio::pipeline {

/// One input on its way from the list to the sink. It is
///   begun     when a decoder takes it
///   decoded   when that decoder has made all its items (or has given up on it)
///   finished  when it is decoded and the engine has answered the last of its items;
///             the writer then writes it in its turn and forgets it.
/// Every member is guarded by RunState::mutex.
struct InputRun {
  InputRun(const Graph& graph, std::size_t index_, std::shared_ptr<const stages::InputFile> input)
      : index(index_), builder(graph, std::move(input)) {}

  struct UnitWork {
    int pending = 0;      ///< items of it that wait for the engine
    bool closed = false;  ///< no further items will come
  };

  const std::size_t index;  ///< in the list of the run
  ResultBuilder builder;
  std::optional<stages::InputResult> reused;
  std::vector<std::string> answers;  ///< with a history: keys of those that the result rests on
  std::map<const stages::Unit*, UnitWork> units;
  int pending = 0;  ///< items that wait for the engine
  bool decoded = false;
  bool given_up = false;  ///< a worker broke down: nothing more is made of this input

  bool finished() const { return decoded && pending == 0; }
};

/// What a language stage asks about an item.
struct StageQuestions {
  int stage = 0;
  std::vector<engine::Request> requests;
  // With a history, by request:
  std::vector<std::string> keys{};                       ///< answer_key.h
  std::vector<std::optional<engine::Answer>> answers{};  ///< those that are known
  std::optional<std::string> refused{};                  ///< known: the model cannot take one of them
};

/// An item with questions for the engine.
struct QueuedItem {
  std::shared_ptr<InputRun> run;
  stages::Item item;
  std::vector<StageQuestions> questions;
  std::size_t bytes = 0;   ///< of its pictures and sound, and its text
  std::uint64_t part = 0;  ///< ascends with the items of an input
};

/// Any thread may call, unless a member says otherwise.
class RunState {
 public:
  RunState(const Graph& graph, const std::vector<ListedInput>& inputs, Progress& progress,
           const RunOptions& options);

  const Graph& graph;
  const std::vector<ListedInput>& inputs;
  History* const history;
  const Clock& clock;
  const stages::DecodePlan plan;
  const std::vector<std::string> fingerprints;  ///< of stages; with a history

  std::mutex mutex;                       ///< guards what follows, and every InputRun
  std::condition_variable engine_wakes;   ///< an item, the last input written, a failure or a stop
  std::condition_variable decoders_wake;  ///< room in the queue or the window, or a stop
  std::condition_variable writer_wakes;   ///< a finished input, a failure or a stop
  std::map<std::size_t, std::shared_ptr<InputRun>> window;  ///< begun and not yet written, by index
  std::size_t next = 0;                                     ///< the first input not yet begun
  std::size_t written = 0;                                  ///< inputs before this one are written
  std::deque<QueuedItem> queue;
  std::size_t queue_bytes = 0;  ///< of the queue and of the items being answered
  bool stopping = false;
  std::exception_ptr failure;                ///< of a thread, not an input's fault
  std::vector<RunSummary::StageCost> costs;  ///< at stage + 1

  void begin_stop();
  /// Requested by begin_stop.
  std::stop_token stop_token() const { return stop_.get_token(); }
  /// The run ends with the exception in flight, unless it ends with an earlier one.
  void fail();
  bool is_stopping() {
    const std::lock_guard lock(mutex);
    return stopping;
  }
  void add_error(InputRun& run, int stage, std::shared_ptr<const stages::Unit> unit, std::string code,
                 std::string message);

  /// What a stage makes of the answers to its questions about an item, or its error.
  void add_result(InputRun& run, int stage, const stages::Item& item, std::span<const engine::Answer> answers,
                  std::uint64_t part);

  /// Waits for room in the window. Null: there is no input left, or the run stops.
  std::shared_ptr<InputRun> begin_next_input();
  void end_decoding(InputRun& run);
  /// Waits for room in the queue. Throws Cancelled if the run stops.
  void enqueue(QueuedItem work);
  /// All questions about an item are dealt with. True: its unit is done.
  bool item_answered(const QueuedItem& work);

  /// what(Progress&), one thread at a time.
  template <class Report>
  void report(Report&& what) {
    const std::lock_guard lock(progress_mutex_);
    what(progress_);
  }

 private:
  std::stop_source stop_;
  Progress& progress_;
  std::mutex progress_mutex_;  ///< never held with `mutex`
};

}  // namespace reelfolio::pipeline
