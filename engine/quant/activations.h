#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/tensor.h"

/// Activations as 8-bit integers with one scale for each token.
namespace reelfolio::engine::quant {

/// x[r, k] ~ scale[r] * value(r, k), |value| <= 127.
///
/// Stored twice over: signed for the own kernels (signed activations times unsigned
/// weights) or with 128 added for oneDNN (unsigned activations times signed weights),
/// whichever was asked for. The integers are the same, so both give the same sums.
struct QuantizedRows {
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t stride =
      0;  ///< bytes from row to row: cols rounded up to kGroup of lowbit.h; the rest is value 0
  bool is_unsigned = false;         ///< 128 has been added to every byte
  std::vector<std::uint8_t> bytes;  ///< [rows, stride]
  std::vector<float> scales;        ///< [rows]; 0 for a row of zeros
  std::vector<std::int32_t> sums;   ///< [rows] sum of the signed values

  const std::int8_t* signed_row(std::size_t r) const {
    return reinterpret_cast<const std::int8_t*>(bytes.data() + r * stride);
  }
};

/// Rotates (rotation.h) and quantises each row of x: scale = max|x| / 127, values rounded to
/// nearest, ties to even. Each row depends on itself alone. Rows with NaN or infinity give
/// scale NaN, so that the product shows it. Uses the engine's OpenMP threads.
void quantize_rows(ConstMatrix x, bool is_unsigned, QuantizedRows& out);

}  // namespace reelfolio::engine::quant
