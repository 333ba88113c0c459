#pragma once

#include <cstddef>

/// What this machine can do at most, measured: the yardstick for how fast the engine is.
namespace reelfolio::engine {

struct MachineLimits {
  double memory_read_bytes_s = 0;  ///< all threads streaming through memory
  /// Multiplications and additions a second of one large linear layer, all threads.
  double matmul_f32_op_s = 0;
  double matmul_bf16_op_s = 0;
  double matmul_int8_op_s = 0;
};

/// The work that is timed; tests make it small.
struct LimitSizes {
  /// 0: four times the last-level cache and at least a gibibyte, but at most an eighth of the
  /// machine's memory.
  std::size_t buffer_bytes = 0;
  std::size_t rows = 512;
  std::size_t in = 2560;
  std::size_t out = 10240;
};

/// Takes the best of the repeats (>= 1): a limit is what the machine reaches undisturbed. Works on
/// the OpenMP threads of the calling thread; frees its memory on return. Throws bad_alloc.
MachineLimits measure_machine_limits(int repeats, const LimitSizes& sizes = {});

}  // namespace reelfolio::engine
