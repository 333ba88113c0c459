#pragma once

#include "engine/tensor.h"

namespace reelfolio::engine::ops {

/// Root-mean-square normalisation of each row (Zhang & Sennrich 2019):
///   y = x / sqrt(mean(x^2) + eps) * weight     (weight itself, not 1 + weight)
///
/// x, y    [rows, size] f32, strides allowed; y may be x
/// weight  [size] f32, borrowed for the call; an empty span leaves the factor out
/// The sum runs in f32 over 16 lanes in a fixed order, so that a row's result
/// depends on that row alone. Throws nothing; sizes are asserted.
void rms_norm(ConstMatrix x, ConstVector weight, float eps, Matrix y);

/// The same for each of the `heads` equal pieces of a row: x, y [rows, heads * size],
/// weight [size] or empty.
void rms_norm_heads(ConstMatrix x, std::size_t heads, ConstVector weight, float eps, Matrix y);

}  // namespace reelfolio::engine::ops
