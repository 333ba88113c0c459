#pragma once

#include <cstddef>
#include <cstdint>

/// Rotation and rounding of one row of activations to int8 (engine/quant/activations.h), compiled for
/// each instruction set. Plain data only; see lowbit_matmul.h.
namespace reelfolio::engine::kernels {

struct RoundRowArgs {
  const float* x;   ///< [n]
  float low, high;  ///< x is limited to these first; infinite ones do nothing
  std::size_t n;
  std::size_t block;    ///< of the rotation: a power of two up to 256 that divides n
  const float* signs;   ///< [block] of +1 and -1
  float norm;           ///< 1 / sqrt(block)
  float* rotated;       ///< [n] scratch, not x
  std::uint8_t* bytes;  ///< [n]
};

/// bytes[k] = 128 + round(rotated[k] * 127 / max|rotated|), ties to even; returns max|rotated| / 127.
/// 0, and bytes of 128, for a row of zeros or of denormals that have no such factor; NaN, bytes
/// unspecified, for a row with NaN or infinity. Every operation is rounded by itself, in the order of
/// plain loops: all kernels give the same bits.
using RoundRowFunction = float (*)(const RoundRowArgs&);

float round_row_ref(const RoundRowArgs& args);
float round_row_avx2(const RoundRowArgs& args);
float round_row_avx512(const RoundRowArgs& args);

}  // namespace reelfolio::engine::kernels
