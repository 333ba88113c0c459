#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "engine/tensor.h"

namespace reelfolio::engine::ops {

/// Angles per position of a rotary embedding (Su et al. 2021) over a vector of
/// `size` elements: element j pairs with element j + size / 2 and turns by
/// position * frequency(j).
struct RopeFrequencies {
  /// [size / 2]; 0 leaves the pair unchanged.
  std::vector<float> inverse;

  std::size_t size() const { return 2 * inverse.size(); }
};

/// inv[j] = theta^(-2j / size).
RopeFrequencies rope_default(std::size_t size, double theta);
/// The first floor(partial_rotary_factor * size / 2) pairs turn, with the exponent's
/// denominator still the full size; the rest stay. `factor` divides the frequencies.
RopeFrequencies rope_proportional(std::size_t size, double theta, double partial_rotary_factor,
                                  double factor = 1.0);

/// Rotates one vector of frequencies.size() elements in place by the angles of
/// `position`: [u cos a - v sin a, v cos a + u sin a] with u, v its halves.
void rope_row(Vector x, const RopeFrequencies& frequencies, float position);

/// Rotates each of the `heads` pieces of each row in place; row r has positions[r].
/// x [rows, heads * frequencies.size()]. Angles and their sine and cosine are f32.
void rope_heads(Matrix x, std::size_t heads, const RopeFrequencies& frequencies,
                std::span<const std::size_t> positions);

}  // namespace reelfolio::engine::ops
