#include "pipeline/answering.h"

#include <stdexcept>
#include <string>
#include <utility>

namespace reelfolio::pipeline {

void Answering::work() {
  if (engine_ == nullptr) {
    if (next(true)) throw std::logic_error("there are questions and no engine");
    return;
  }
  engine::ServeOptions options;
  options.max_sequences = run_.graph.limits.batch;
  options.cache_bytes = run_.graph.limits.cache_bytes;
  engine_->serve(*this, options, run_.stop_token());
}

std::optional<engine::RequestGroup> Answering::next(bool idle) {
  Open open;
  {
    std::unique_lock lock(run_.mutex);
    if (idle) {
      run_.engine_wakes.wait(lock, [this] {
        return run_.stopping || !run_.queue.empty() || run_.written == run_.inputs.size();
      });
    }
    if (run_.stopping || run_.queue.empty()) return std::nullopt;
    open.work = std::move(run_.queue.front());
    run_.queue.pop_front();
  }
  open.sets = open.work.questions.size();
  engine::RequestGroup group;
  group.id = next_group_++;
  for (StageQuestions& questions : open.work.questions) group.sets.push_back(std::move(questions.requests));
  open_.emplace(group.id, std::move(open));
  return group;
}

void Answering::answered(std::uint64_t group, std::size_t set, std::vector<engine::Answer> answers) {
  if (run_.stop_token().stop_requested()) return;  // cut off: the input is dropped
  const auto open = open_.find(group);
  if (open == open_.end()) throw std::logic_error("the engine answers what it was not asked");
  const QueuedItem& work = open->second.work;
  const int stage = work.questions.at(set).stage;
  add_costs(stage, answers);
  try {
    stages::Json value = run_.graph.stages[stage].language->result(work.item, answers);
    const std::lock_guard lock(run_.mutex);
    work.run->builder.add_result(stage, *work.item.unit, std::move(value), work.part);
  } catch (const stages::ItemError& error) {
    run_.add_error(*work.run, stage, work.item.unit, error.code(), error.what());
  } catch (const std::exception& error) {
    run_.add_error(*work.run, stage, work.item.unit, stages::kInternalError, error.what());
  }
  set_done(open);
}

void Answering::refused(std::uint64_t group, std::size_t set, std::size_t /*request*/,
                        const engine::RequestError& error) {
  const auto open = open_.find(group);
  if (open == open_.end()) throw std::logic_error("the engine refuses what it was not asked");
  const QueuedItem& work = open->second.work;
  run_.add_error(*work.run, work.questions.at(set).stage, work.item.unit, "request.refused", error.what());
  set_done(open);
}

void Answering::set_done(std::map<std::uint64_t, Open>::iterator open) {
  if (--open->second.sets > 0) return;
  const QueuedItem work = std::move(open->second.work);
  open_.erase(open);
  if (!run_.item_answered(work)) return;
  const engine::EngineStats stats = engine_->stats();
  run_.report([&](Progress& progress) { progress.unit_done(work.run->index, stats); });
}

void Answering::add_costs(int stage, std::span<const engine::Answer> answers) {
  const std::lock_guard lock(run_.mutex);
  RunSummary::StageCost& cost = run_.costs[stage + 1];
  for (const engine::Answer& answer : answers) {
    cost.seconds += answer.compute_s;
    cost.prompt_tokens += static_cast<std::uint64_t>(answer.prompt_tokens);
    cost.generated_tokens += static_cast<std::uint64_t>(answer.generated_tokens);
  }
}

}  // namespace reelfolio::pipeline
