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
  for (StageQuestions& questions : open.work.questions) {
    // Those whose answers are known are not asked.
    std::vector<engine::Request>& set = group.sets.emplace_back();
    questions.answers.resize(questions.requests.size());
    for (std::size_t i = 0; i < questions.requests.size(); ++i) {
      if (!questions.answers[i]) set.push_back(std::move(questions.requests[i]));
    }
  }
  open_.emplace(group.id, std::move(open));
  return group;
}

/// Where an answer to the asked-th question that was asked belongs.
std::size_t Answering::place_of(const StageQuestions& questions, std::size_t asked) {
  for (std::size_t i = 0; i < questions.answers.size(); ++i) {
    if (!questions.answers[i] && asked-- == 0) return i;
  }
  throw std::logic_error("the engine answers what it was not asked");
}

void Answering::answered(std::uint64_t group, std::size_t set, std::vector<engine::Answer> answers) {
  if (run_.stop_token().stop_requested()) return;  // cut off: the input is dropped
  const auto open = open_.find(group);
  if (open == open_.end()) throw std::logic_error("the engine answers what it was not asked");
  QueuedItem& work = open->second.work;
  StageQuestions& questions = work.questions.at(set);
  add_costs(questions.stage, answers);
  for (engine::Answer& answer : answers) {
    const std::size_t place = place_of(questions, 0);
    if (run_.history != nullptr)
      run_.history->record_answer(questions.keys.at(place), {answer, std::nullopt});
    questions.answers[place] = std::move(answer);
  }
  std::vector<engine::Answer> all;
  for (std::optional<engine::Answer>& answer : questions.answers) all.push_back(std::move(answer).value());
  run_.add_result(*work.run, questions.stage, work.item, all, work.part);
  set_done(open);
}

void Answering::refused(std::uint64_t group, std::size_t set, std::size_t request,
                        const engine::RequestError& error) {
  const auto open = open_.find(group);
  if (open == open_.end()) throw std::logic_error("the engine refuses what it was not asked");
  const QueuedItem& work = open->second.work;
  const StageQuestions& questions = work.questions.at(set);
  if (run_.history != nullptr) {
    run_.history->record_answer(questions.keys.at(place_of(questions, request)), {{}, error.what()});
  }
  run_.add_error(*work.run, questions.stage, work.item.unit, "request.refused", error.what());
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
