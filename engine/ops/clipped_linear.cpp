#include "engine/ops/clipped_linear.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "engine/ops/activation.h"
#include "engine/ops/linear_input.h"

namespace reelfolio::engine::ops {

ClippedLinear::ClippedLinear(Linear linear, const ClipBounds& bounds)
    : linear_(std::move(linear)), bounds_(bounds) {}

void ClippedLinear::apply(ConstMatrix x, Matrix y) const {
  const ClippedOutput output{this, y};
  apply_clipped(x, {&output, 1});
}

void apply_clipped(ConstMatrix x, std::span<const ClippedOutput> outputs) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  thread_local MatrixBuffer clipped;
  const auto with_input = [&](const ClipBounds& bounds, auto f) {
    if (bounds.input_min > -kInfinity || bounds.input_max < kInfinity) {
      clipped.resize(x.rows, x.cols);
      clamp(x, bounds.input_min, bounds.input_max, clipped.view());
      f(LinearInput(clipped.view()));
    } else {
      f(LinearInput(x));
    }
  };
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const ClipBounds& bounds = outputs[i].linear->bounds();
    const auto shares = [&](const ClippedOutput& other) { return bounds.same_input(other.linear->bounds()); };
    // Done with an earlier one.
    if (std::any_of(outputs.begin(), outputs.begin() + static_cast<std::ptrdiff_t>(i), shares)) continue;
    with_input(bounds, [&](const LinearInput& input) {
      for (const ClippedOutput& output : outputs.subspan(i)) {
        if (shares(output)) output.linear->linear().apply(input, output.y);
      }
    });
  }
  for (const ClippedOutput& output : outputs) {
    const ClipBounds& bounds = output.linear->bounds();
    if (bounds.output_min > -kInfinity || bounds.output_max < kInfinity) {
      clamp(output.y, bounds.output_min, bounds.output_max, output.y);
    }
  }
}

}  // namespace reelfolio::engine::ops
