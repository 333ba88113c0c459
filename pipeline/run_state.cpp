#include "pipeline/run_state.h"

#include <algorithm>
#include <utility>

#include "pipeline/fingerprints.h"

namespace reelfolio::pipeline {

namespace {

// What an item costs beside its pictures, so that items without any are bounded too.
constexpr std::size_t kItemBytes = 1024;

}  // namespace

RunState::RunState(const Graph& graph_, const std::vector<ListedInput>& inputs_, Progress& progress,
                   const RunOptions& options)
    : graph(graph_),
      inputs(inputs_),
      history(options.history),
      clock(options.clock != nullptr ? *options.clock : steady_clock()),
      plan(decode_plan(graph_)),
      fingerprints(options.history != nullptr ? stage_fingerprints(graph_) : std::vector<std::string>()),
      costs(graph_.stages.size() + 1),
      progress_(progress) {}

void RunState::begin_stop() {
  stop_.request_stop();
  const std::lock_guard lock(mutex);
  stopping = true;
  engine_wakes.notify_all();
  decoders_wake.notify_all();
  writer_wakes.notify_all();
}

void RunState::fail() {
  {
    const std::lock_guard lock(mutex);
    if (!failure) failure = std::current_exception();
  }
  begin_stop();
}

void RunState::add_error(InputRun& run, int stage, std::shared_ptr<const stages::Unit> unit, std::string code,
                         std::string message) {
  const std::lock_guard lock(mutex);
  run.builder.add_error(stage, std::move(unit), std::move(code), std::move(message));
}

void RunState::add_result(InputRun& run, int stage, const stages::Item& item,
                          std::span<const engine::Answer> answers, std::uint64_t part) {
  try {
    stages::Json value = graph.stages[stage].language->result(item, answers);
    const std::lock_guard lock(mutex);
    run.builder.add_result(stage, *item.unit, std::move(value), part);
  } catch (const stages::ItemError& error) {
    add_error(run, stage, item.unit, error.code(), error.what());
  } catch (const std::exception& error) {
    add_error(run, stage, item.unit, stages::kInternalError, error.what());
  }
}

std::shared_ptr<InputRun> RunState::begin_next_input() {
  std::unique_lock lock(mutex);
  const auto in_flight = static_cast<std::size_t>(graph.limits.inputs_in_flight);
  decoders_wake.wait(lock, [&] { return stopping || next == inputs.size() || next < written + in_flight; });
  if (stopping || next == inputs.size()) return nullptr;
  const std::size_t index = next++;
  stages::InputFile listed;
  listed.name = inputs[index].name;
  listed.path = inputs[index].path;
  auto run =
      std::make_shared<InputRun>(graph, index, std::make_shared<const stages::InputFile>(std::move(listed)));
  window.emplace(index, run);
  return run;
}

void RunState::end_decoding(InputRun& run) {
  const std::lock_guard lock(mutex);
  run.decoded = true;
  if (run.finished()) writer_wakes.notify_all();
}

void RunState::enqueue(QueuedItem work) {
  work.bytes = kItemBytes + work.item.media_bytes() + work.item.text_bytes();
  std::unique_lock lock(mutex);
  // An item larger than the whole bound goes alone.
  decoders_wake.wait(lock, [&] {
    return stopping || queue_bytes == 0 || queue_bytes + work.bytes <= graph.limits.queue_bytes;
  });
  if (stopping) throw stages::Cancelled{};
  queue_bytes += work.bytes;
  ++work.run->pending;
  if (work.item.unit) {
    ++work.run->units[work.item.unit.get()].pending;
  }
  queue.push_back(std::move(work));
  engine_wakes.notify_all();
}

bool RunState::item_answered(const QueuedItem& work) {
  const std::lock_guard lock(mutex);
  InputRun& run = *work.run;
  bool unit_done = false;
  queue_bytes -= work.bytes;
  decoders_wake.notify_all();
  if (const auto found = run.units.find(work.item.unit.get()); found != run.units.end()) {
    unit_done = --found->second.pending == 0 && found->second.closed;
    if (unit_done) run.units.erase(found);
  }
  --run.pending;
  if (run.finished()) writer_wakes.notify_all();
  return unit_done;
}

}  // namespace reelfolio::pipeline
