#pragma once

#include <cstddef>
#include <span>

#include "engine/tensor.h"

namespace reelfolio::engine::ops {

/// Converts elements first .. first + out.size() - 1 of `bytes` (f32, f16 or bf16,
/// any alignment, typically memory-mapped) to f32. Bounds are asserted.
void convert_to_f32(std::span<const std::byte> bytes, DType dtype, std::size_t first, Vector out);

}  // namespace reelfolio::engine::ops
