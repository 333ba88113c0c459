#include "pipeline/scheduler.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>

#include "pipeline/answering.h"
#include "pipeline/decoding.h"
#include "pipeline/run_state.h"

namespace reelfolio::pipeline {

namespace {

/// Writes finished inputs in their order.
class Writer {
 public:
  Writer(RunState& state, stages::Sink& sink) : state_(state), sink_(sink) {}

  /// Returns once every input is written, or the run stops. A failure ends the run.
  void work() {
    try {
      while (const auto run = take_finished()) {
        write(*run);
        flush_in_time();
        const std::lock_guard lock(state_.mutex);
        ++state_.written;
        state_.decoders_wake.notify_all();
        if (state_.written == state_.inputs.size()) state_.engine_wakes.notify_all();
      }
      if (state_.history != nullptr) state_.history->flush();
    } catch (...) {
      state_.fail();
    }
  }

  RunSummary summary;

 private:
  /// Waits for the next input in order to be finished. Null: none will be.
  std::shared_ptr<InputRun> take_finished() {
    std::unique_lock lock(state_.mutex);
    const auto is_ready = [this] {
      const auto& window = state_.window;
      return !window.empty() && window.begin()->first == state_.written && window.begin()->second->finished();
    };
    state_.writer_wakes.wait(
        lock, [&] { return is_ready() || state_.stopping || state_.written == state_.inputs.size(); });
    // What is finished when the run stops is written all the same.
    if (!is_ready()) return nullptr;
    std::shared_ptr<InputRun> run = std::move(state_.window.begin()->second);
    state_.window.erase(state_.window.begin());
    return run;
  }

  /// A kill loses what is younger than this, a power cut too.
  static constexpr std::chrono::milliseconds kFlushAfter{500};

  void flush_in_time() {
    const auto now = std::chrono::steady_clock::now();
    if (state_.history == nullptr || now - flushed_ < kFlushAfter) return;
    state_.history->flush();
    flushed_ = std::chrono::steady_clock::now();
  }

  void write(InputRun& run) {
    const bool reused = run.reused.has_value();
    const stages::InputResult result = reused ? std::move(*run.reused) : run.builder.finish();
    if (state_.history != nullptr && !reused) state_.history->record(result, run.answers);
    sink_.write(result);
    ++summary.inputs;
    summary.units += result.units.size();
    if (reused) ++summary.reused;
    switch (result.status) {
      case stages::InputStatus::ok:
        ++summary.ok;
        break;
      case stages::InputStatus::partial:
        ++summary.partial;
        break;
      case stages::InputStatus::failed:
        ++summary.failed;
        break;
      case stages::InputStatus::skipped:
        ++summary.skipped;
        break;
    }
    state_.report([&](Progress& progress) { progress.input_done(run.index, result); });
  }

  RunState& state_;
  stages::Sink& sink_;
  std::chrono::steady_clock::time_point flushed_ = std::chrono::steady_clock::now();
};

void tick_until(RunState& state, const engine::Engine* engine, const std::stop_token& ended) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  const std::chrono::duration<double> tick(Progress::kTickS);
  while (!ended.stop_requested()) {
    never.wait_for(lock, ended, tick, [] { return false; });
    if (ended.stop_requested()) return;
    const engine::EngineStats stats = engine != nullptr ? engine->stats() : engine::EngineStats{};
    state.report([&](Progress& progress) { progress.tick(stats); });
  }
}

/// Threads that end with the scope, which stops them if they have work left.
class Threads {
 public:
  explicit Threads(RunState& state) : state_(state) {}
  ~Threads() {
    state_.begin_stop();
    for (std::thread& thread : threads_) thread.join();
  }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  template <class F>
  void start(F&& work) {
    threads_.emplace_back(std::forward<F>(work));
  }

 private:
  RunState& state_;
  std::vector<std::thread> threads_;
};

}  // namespace

RunSummary run_graph(const Graph& graph, const std::vector<ListedInput>& inputs, engine::Engine* engine,
                     stages::Sink& sink, Progress& progress, std::stop_token stop,
                     const RunOptions& options) {
  if (graph.needs_model() && engine == nullptr)
    throw std::logic_error("the graph needs a model, and there is none");
  RunState state(graph, inputs, progress, options);
  std::vector<std::uint64_t> sizes;
  for (const ListedInput& input : inputs) sizes.push_back(input.size_bytes);
  state.report([&](Progress& each) { each.run_started(sizes); });
  Writer writer(state, sink);
  {
    const std::stop_callback on_stop(std::move(stop), [&state] { state.begin_stop(); });
    Threads threads(state);
    const std::size_t decoders =
        std::min(static_cast<std::size_t>(std::max(graph.limits.decoders, 1)), inputs.size());
    for (std::size_t i = 0; i < decoders; ++i) threads.start([&] { decode_inputs(state, options, engine); });
    threads.start([&writer] { writer.work(); });
    const std::jthread ticker([&](std::stop_token ended) { tick_until(state, engine, ended); });
    Answering(state, engine).work();
  }
  if (state.failure) std::rethrow_exception(state.failure);
  RunSummary& summary = writer.summary;
  summary.interrupted = state.written < inputs.size();
  if (!summary.interrupted) sink.finish();
  summary.stage_costs["inputs"] = state.costs[0];
  for (std::size_t i = 0; i < graph.stages.size(); ++i)
    summary.stage_costs[graph.stages[i].name] = state.costs[i + 1];
  state.report([](Progress& each) { each.run_finished(); });
  return summary;
}

}  // namespace reelfolio::pipeline
