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

void quantize_row(std::span<float> row, bool is_unsigned, std::uint8_t* out, std::size_t stride, float& scale,
                  std::int32_t& sum) {
  rotate_row(row);
  float largest = 0.0F;
  bool finite = true;
  for (const float v : row) {
    finite = finite && std::isfinite(v);
    largest = std::max(largest, std::abs(v));
  }
  const std::uint8_t offset = is_unsigned ? 128 : 0;
  std::fill(out + row.size(), out + stride, offset);
  sum = 0;
  if (!finite || largest == 0.0F) {
    scale = finite ? 0.0F : std::numeric_limits<float>::quiet_NaN();
    std::fill(out, out + row.size(), offset);
    return;
  }
  scale = largest / kLargest;
  const float inverse = kLargest / largest;
  if (!std::isfinite(inverse)) {  // a row of denormals: zero to any precision that matters
    scale = 0.0F;
    std::fill(out, out + row.size(), offset);
    return;
  }
  for (std::size_t k = 0; k < row.size(); ++k) {
    const auto value = static_cast<std::int32_t>((row[k] * inverse + kRound) - kRound);
    sum += value;
    out[k] = static_cast<std::uint8_t>(value + offset);
  }
}

}  // namespace

void quantize_rows(ConstMatrix x, bool is_unsigned, QuantizedRows& out) {
  out.rows = x.rows;
  out.cols = x.cols;
  out.stride = (x.cols + kGroup - 1) / kGroup * kGroup;
  out.is_unsigned = is_unsigned;
  out.bytes.resize(out.rows * out.stride);
  out.scales.resize(out.rows);
  out.sums.resize(out.rows);
#pragma omp parallel
  {
    std::vector<float> scratch(x.cols);
#pragma omp for schedule(static)
    for (std::ptrdiff_t r = 0; r < static_cast<std::ptrdiff_t>(x.rows); ++r) {
      const auto row = x.row(r);
      std::copy(row.begin(), row.end(), scratch.begin());
      quantize_row(scratch, is_unsigned, out.bytes.data() + r * out.stride, out.stride, out.scales[r],
                   out.sums[r]);
    }
  }
}

}  // namespace reelfolio::engine::quant
