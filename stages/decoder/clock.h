#pragma once

#include <chrono>

namespace reelfolio::stages {

/// Seconds since some fixed moment, never going back.
inline double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace reelfolio::stages
