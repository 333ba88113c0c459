#pragma once

#include <limits>
#include <span>

#include "engine/ops/matmul.h"

namespace reelfolio::engine::ops {

/// Bounds of a clipped linear layer; infinite ones do nothing.
struct ClipBounds {
  float input_min = -std::numeric_limits<float>::infinity();
  float input_max = std::numeric_limits<float>::infinity();
  float output_min = -std::numeric_limits<float>::infinity();
  float output_max = std::numeric_limits<float>::infinity();

  bool same_input(const ClipBounds& other) const {
    return input_min == other.input_min && input_max == other.input_max;
  }
};

/// y = clamp(W clamp(x, input_min, input_max), output_min, output_max): the linear
/// layers of the vision and audio towers. Threads and ownership as Linear.
class ClippedLinear {
 public:
  ClippedLinear(Linear linear, const ClipBounds& bounds);

  /// x [rows, in], y [rows, out], f32; strides allowed; y may not alias x; x is not changed.
  void apply(ConstMatrix x, Matrix y) const;

  const ClipBounds& bounds() const { return bounds_; }
  const Linear& linear() const { return linear_; }
  std::size_t in_size() const { return linear_.in_size(); }
  std::size_t out_size() const { return linear_.out_size(); }
  std::size_t memory_bytes() const { return linear_.memory_bytes(); }

 private:
  Linear linear_;
  ClipBounds bounds_;
};

struct ClippedOutput {
  const ClippedLinear* linear;
  Matrix y;
};

/// Every output of layers that read the same x, which is clamped and rounded once for layers with equal
/// input bounds; quantised ones share a parallel region. The bits are those of ClippedLinear::apply.
void apply_clipped(ConstMatrix x, std::span<const ClippedOutput> outputs);

}  // namespace reelfolio::engine::ops
