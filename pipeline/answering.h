#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "engine/engine.h"
#include "pipeline/run_state.h"

namespace reelfolio::pipeline {

/// Turns queued items into groups of requests, and answers into results: each item is a group,
/// each language stage that asks about it a set. Lives on the thread that runs the engine.
class Answering final : public engine::RequestSource {
 public:
  /// Borrows both. `engine` may be null where nothing is ever asked.
  Answering(RunState& run, engine::Engine* engine) : run_(run), engine_(engine) {}

  /// Returns once every input is written, or the run stops. Throws what the engine throws.
  void work();

  std::optional<engine::RequestGroup> next(bool idle) override;
  void answered(std::uint64_t group, std::size_t set, std::vector<engine::Answer> answers) override;
  void refused(std::uint64_t group, std::size_t set, std::size_t request,
               const engine::RequestError& error) override;

 private:
  struct Open {
    QueuedItem work;
    std::size_t sets = 0;  ///< not yet dealt with
  };

  static std::size_t place_of(const StageQuestions& questions, std::size_t asked);
  void add_costs(int stage, std::span<const engine::Answer> answers);
  void set_done(std::map<std::uint64_t, Open>::iterator open);

  RunState& run_;
  engine::Engine* engine_;
  std::map<std::uint64_t, Open> open_;  ///< by group
  std::uint64_t next_group_ = 0;
};

}  // namespace reelfolio::pipeline
