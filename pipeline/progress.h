#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "engine/engine.h"
#include "stages/record.h"

namespace reelfolio::pipeline {

/// What the scheduler reports to. Calls may come from any of its threads, one at a time.
/// See progress_display.h for those that print.
class Progress {
 public:
  virtual ~Progress() = default;
  virtual void run_started(std::size_t num_inputs) = 0;
  virtual void input_started(const std::string& name) = 0;
  /// A unit has entered the run (was emitted by the stage that cuts units).
  virtual void unit_found() = 0;
  /// All language stages of a unit are done. `stats` are the engine's counters so far.
  virtual void unit_done(const engine::EngineStats& stats) = 0;
  /// The input's lines are written.
  virtual void input_done(const stages::InputResult& result) = 0;
  virtual void run_finished() = 0;
};

}  // namespace reelfolio::pipeline
