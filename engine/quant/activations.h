#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/tensor.h"

/// Activations as 8-bit integers with one scale for each token.
namespace reelfolio::engine::quant {

/// x[r, k] ~ scale[r] * (byte(r, k) - 128), |byte - 128| <= 127.
///
/// Bytes are unsigned because that is the form the processors multiply (unsigned
/// activations by signed weights); the products take the 128 off again with the sums of the
/// weights, in integers, so nothing is lost.
struct QuantizedRows {
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t stride = 0;  ///< bytes from row to row: cols rounded up to kGroup of lowbit.h; the rest is 128
  std::vector<std::uint8_t> bytes;  ///< [rows, stride]
  std::vector<float> scales;        ///< [rows]; 0 for a row of zeros

  const std::uint8_t* row(std::size_t r) const { return bytes.data() + r * stride; }
};

/// Rotates (rotation.h) and quantises each row of x: scale = max|x| / 127, values rounded to
/// nearest, ties to even. Each row depends on itself alone. Rows with NaN or infinity give
/// scale NaN, so that the product shows it. Uses the engine's OpenMP threads.
void quantize_rows(ConstMatrix x, QuantizedRows& out);
/// The same for x limited to low .. high, element by element.
void quantize_rows(ConstMatrix x, float low, float high, QuantizedRows& out);

}  // namespace reelfolio::engine::quant
