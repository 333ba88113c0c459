#include "engine/ops/activation.h"

#include <algorithm>
#include <limits>

#include "engine/kernels/row_kernels.h"
#include "engine/ops/parallel.h"

namespace reelfolio::engine::ops {

namespace {

/// f(row of x, row of y) for each row, spread over the threads.
template <class F>
void each_row([[maybe_unused]] ConstMatrix x, Matrix y, F f) {
  assert(x.rows == y.rows && x.cols == y.cols);
#pragma omp parallel for schedule(static) if (x.rows > 1 && x.rows * x.cols > kParallelElements)
  for (std::size_t r = 0; r < y.rows; ++r) f(x.data + r * x.stride, y.data + r * y.stride, r);
}

}  // namespace

void gelu_tanh(ConstMatrix x, Matrix y) {
  const auto& kernel = kernels::row_kernels();
  each_row(x, y, [&](const float* in, float* out, std::size_t) { kernel.gelu(in, nullptr, out, x.cols); });
}

void gelu_tanh_mul(ConstMatrix x, ConstMatrix factor, Matrix y) {
  assert(factor.rows == x.rows && factor.cols == x.cols);
  const auto& kernel = kernels::row_kernels();
  each_row(x, y, [&](const float* in, float* out, std::size_t r) {
    kernel.gelu(in, factor.data + r * factor.stride, out, x.cols);
  });
}

void silu(ConstMatrix x, Matrix y) {
  const auto& kernel = kernels::row_kernels();
  each_row(x, y, [&](const float* in, float* out, std::size_t) { kernel.silu(in, out, x.cols); });
}

void sigmoid(ConstMatrix x, Matrix y) {
  const auto& kernel = kernels::row_kernels();
  each_row(x, y, [&](const float* in, float* out, std::size_t) { kernel.sigmoid(in, out, x.cols); });
}

void soft_cap(ConstMatrix x, float cap, Matrix y) {
  const auto& kernel = kernels::row_kernels();
  each_row(x, y, [&](const float* in, float* out, std::size_t) { kernel.soft_cap(in, cap, out, x.cols); });
}

void softmax(ConstMatrix x, Matrix y) {
  if (x.cols == 0) return;
  const auto& kernel = kernels::row_kernels();
  each_row(x, y, [&](const float* in, float* out, std::size_t) {
    const float top = kernel.max(in, x.cols);
    if (top == -std::numeric_limits<float>::infinity()) {
      std::fill(out, out + x.cols, 0.0F);
      return;
    }
    const float sum = kernel.exp_sum(in, top, out, x.cols);
    kernel.scale_by(out, 1.0F / sum, nullptr, out, x.cols);
  });
}

void add(ConstMatrix x, ConstMatrix z, Matrix y) {
  assert(z.rows == x.rows && z.cols == x.cols);
  const auto& kernel = kernels::row_kernels();
  each_row(x, y, [&](const float* in, float* out, std::size_t r) {
    const float* other = z.data + r * z.stride;
    if (out == in) {
      kernel.add(other, out, x.cols);
      return;
    }
    if (out != other) std::copy(other, other + x.cols, out);
    kernel.add(in, out, x.cols);
  });
}

void scale(ConstMatrix x, float factor, Matrix y) {
  const auto& kernel = kernels::row_kernels();
  each_row(x, y, [&](const float* in, float* out, std::size_t) {
    kernel.scale_by(in, factor, nullptr, out, x.cols);
  });
}

void clamp(ConstMatrix x, float low, float high, Matrix y) {
  const auto& kernel = kernels::row_kernels();
  each_row(x, y, [&](const float* in, float* out, std::size_t) { kernel.clamp(in, low, high, out, x.cols); });
}

}  // namespace reelfolio::engine::ops
