#pragma once

namespace reelfolio::pipeline {

/// Time that only goes forward. Tests put a clock of their own in its place.
class Clock {
 public:
  virtual ~Clock() = default;
  /// Seconds since some fixed moment. Any thread.
  virtual double now_s() const = 0;
};

/// The machine's steady clock.
const Clock& steady_clock();

}  // namespace reelfolio::pipeline
