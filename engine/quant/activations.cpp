#include "engine/quant/activations.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/quant/lowbit.h"
#include "engine/quant/rotation.h"

namespace reelfolio::engine::quant {
namespace {

constexpr float kLargest = 127.0F;
// Adding and subtracting 1.5 * 2^23 rounds to the nearest integer, ties to even, in plain
// f32 arithmetic: no call, so the loop vectorises.
constexpr float kRound = 12582912.0F;

constexpr std::uint8_t kZero = 128;

void quantize_row(std::span<float> row, std::uint8_t* out, std::size_t stride, float& scale) {
  rotate_row(row);
  float largest = 0.0F;
  for (const float v : row) largest = std::max(largest, std::abs(v));
  // max() drops NaN, a sum keeps it; infinity survives both.
  float sum = 0.0F;
  for (const float v : row) sum += v * 0.0F;
  const bool finite = sum == 0.0F;
  const float inverse = kLargest / largest;
  std::fill(out, out + stride, kZero);
  if (!finite) {
    scale = std::numeric_limits<float>::quiet_NaN();
    return;
  }
  if (!std::isfinite(inverse)) {  // zeros, or denormals that round to zero at any precision that matters
    scale = 0.0F;
    return;
  }
  scale = largest / kLargest;
  for (std::size_t k = 0; k < row.size(); ++k) {
    out[k] =
        static_cast<std::uint8_t>(static_cast<std::int32_t>((row[k] * inverse + kRound) - kRound) + kZero);
  }
}

}  // namespace

void quantize_rows(ConstMatrix x, QuantizedRows& out) {
  out.rows = x.rows;
  out.cols = x.cols;
  out.stride = (x.cols + kGroup - 1) / kGroup * kGroup;
  out.bytes.resize(out.rows * out.stride);
  out.scales.resize(out.rows);
#pragma omp parallel
  {
    std::vector<float> scratch(x.cols);
#pragma omp for schedule(static)
    for (std::ptrdiff_t r = 0; r < static_cast<std::ptrdiff_t>(x.rows); ++r) {
      const auto row = x.row(r);
      std::copy(row.begin(), row.end(), scratch.begin());
      quantize_row(scratch, out.bytes.data() + r * out.stride, out.stride, out.scales[r]);
    }
  }
}

}  // namespace reelfolio::engine::quant
