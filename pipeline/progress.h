#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "engine/engine.h"
#include "stages/record.h"

namespace reelfolio::pipeline {

/// What the scheduler reports to. Calls may come from any of its threads, one at a time. `input`
/// is the input's place in the list of the run. `stats` are the engine's counters so far.
/// See progress_display.h for those that print.
class Progress {
 public:
  virtual ~Progress() = default;
  /// sizes[i]: bytes of input i, 0 where not known. Borrowed for the call.
  virtual void run_started(std::span<const std::uint64_t> sizes) = 0;
  virtual void input_started(std::size_t input, const std::string& name) = 0;
  /// Why it is worked on, or is not: what the history says.
  virtual void input_found(std::size_t input, const std::string& reason) { (void)input, (void)reason; }
  /// `part` of the input, from 0 to 1, has been decoded.
  virtual void input_advanced(std::size_t input, double part) = 0;
  /// A unit has entered the run (was emitted by the stage that cuts units).
  virtual void unit_found(std::size_t input) = 0;
  /// All language stages of a unit are done.
  virtual void unit_done(std::size_t input, const engine::EngineStats& stats) = 0;
  /// The input's lines are written.
  virtual void input_done(std::size_t input, const stages::InputResult& result) = 0;
  /// Some time has passed (kTickS), whether or not anything has happened.
  virtual void tick(const engine::EngineStats& stats) = 0;
  virtual void run_finished() = 0;

  static constexpr double kTickS = 0.25;
};

}  // namespace reelfolio::pipeline
