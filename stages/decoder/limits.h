#pragma once

#include <cstdint>

namespace reelfolio::stages {

/// What one input may cost. Time counts only while its process works, not while it waits for room.
struct DecoderLimits {
  double time_s = 6 * 3600.0;
  double stall_s = 600;                                  ///< without any sign of going on
  std::uint64_t memory_bytes = std::uint64_t{4} << 30U;  ///< and as much of pictures on their way
};

}  // namespace reelfolio::stages
