#include "engine/ops/clipped_linear.h"

#include <utility>

#include "engine/ops/activation.h"

namespace reelfolio::engine::ops {

ClippedLinear::ClippedLinear(Linear linear, const ClipBounds& bounds)
    : linear_(std::move(linear)), bounds_(bounds) {}

void ClippedLinear::apply(ConstMatrix x, Matrix y) const {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  if (bounds_.input_min > -kInfinity || bounds_.input_max < kInfinity) {
    thread_local MatrixBuffer clipped;
    clipped.resize(x.rows, x.cols);
    clamp(x, bounds_.input_min, bounds_.input_max, clipped.view());
    linear_.apply(clipped.view(), y);
  } else {
    linear_.apply(x, y);
  }
  if (bounds_.output_min > -kInfinity || bounds_.output_max < kInfinity) {
    clamp(y, bounds_.output_min, bounds_.output_max, y);
  }
}

}  // namespace reelfolio::engine::ops
