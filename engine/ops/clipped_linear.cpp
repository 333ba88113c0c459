#include "engine/ops/clipped_linear.h"

#include <algorithm>
#include <array>
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
  constexpr std::size_t kTogether = 4;
  thread_local MatrixBuffer clipped;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const ClipBounds& bounds = outputs[i].linear->bounds();
    const bool quantized = outputs[i].linear->linear().packed() != nullptr;
    const auto shares = [&](const ClippedOutput& other) {
      return bounds.same_input(other.linear->bounds()) &&
             (other.linear->linear().packed() != nullptr) == quantized;
    };
    // Done with an earlier one.
    if (std::any_of(outputs.begin(), outputs.begin() + static_cast<std::ptrdiff_t>(i), shares)) continue;
    if (quantized) {
      // Rounding and multiplying limit their input and output themselves, while it is in cache.
      const LinearInput input(x, bounds.input_min, bounds.input_max);
      std::array<LinearOutput, kTogether> together{};
      std::size_t count = 0;
      for (const ClippedOutput& output : outputs.subspan(i)) {
        if (!shares(output)) continue;
        if (count == kTogether) {
          apply_together(input, together);
          count = 0;
        }
        const ClipBounds& own = output.linear->bounds();
        together[count++] = {&output.linear->linear(), output.y, own.output_min, own.output_max};
      }
      apply_together(input, std::span(together).first(count));
      continue;
    }
    ConstMatrix limited = x;
    if (bounds.input_min > -kInfinity || bounds.input_max < kInfinity) {
      clipped.resize(x.rows, x.cols);
      clamp(x, bounds.input_min, bounds.input_max, clipped.view());
      limited = clipped.view();
    }
    const LinearInput input(limited);
    for (const ClippedOutput& output : outputs.subspan(i)) {
      if (!shares(output)) continue;
      output.linear->linear().apply(input, output.y);
      const ClipBounds& own = output.linear->bounds();
      if (own.output_min > -kInfinity || own.output_max < kInfinity) {
        clamp(output.y, own.output_min, own.output_max, output.y);
      }
    }
  }
}

}  // namespace reelfolio::engine::ops
