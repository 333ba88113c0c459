#pragma once

#include <chrono>

/// Time that passes, for measuring; never part of a result.
namespace reelfolio::engine {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace reelfolio::engine
