#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

namespace reelfolio::engine::quant {

/// Numbers that are kept, as int8 with one scale: x[i] ~ scale * integer(i), with scale = max|x| / 127 and
/// integer(i) = x[i] / scale, rounded to nearest, ties to even. Calls store(i, integer(i)), the integer an
/// int8, for each i in order and returns the scale. Scale and integers are 0 where max|x| is; infinity and
/// NaN give what is of no use, which the caller sees to. Activations are rounded by kernels, which multiply
/// by the reciprocal (round_row.h).
template <class Store>
float round_to_int8(std::span<const float> x, Store store) {
  float largest = 0.0F;
  for (const float value : x) largest = std::max(largest, std::abs(value));
  const float scale = largest / 127.0F;
  for (std::size_t i = 0; i < x.size(); ++i) {
    store(i, static_cast<std::int8_t>(scale > 0.0F ? std::lrint(x[i] / scale) : 0));
  }
  return scale;
}

}  // namespace reelfolio::engine::quant
