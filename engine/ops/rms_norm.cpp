#include "engine/ops/rms_norm.h"

#include <cmath>

#include "engine/kernels/row_kernels.h"
#include "engine/ops/parallel.h"

namespace reelfolio::engine::ops {

void rms_norm(ConstMatrix x, ConstVector weight, float eps, Matrix y) {
  rms_norm_heads(x, 1, weight, eps, y);
}

void rms_norm_heads(ConstMatrix x, std::size_t heads, ConstVector weight, float eps, Matrix y) {
  assert(heads > 0 && x.cols % heads == 0 && x.rows == y.rows && x.cols == y.cols);
  const std::size_t size = x.cols / heads;
  assert(weight.empty() || weight.size() == size);
  const kernels::RowKernels& kernel = kernels::row_kernels();
  const float* factors = weight.empty() ? nullptr : weight.data();
#pragma omp parallel for schedule(static) if (x.rows * x.cols > kParallelElements)
  for (std::size_t r = 0; r < x.rows; ++r) {
    for (std::size_t h = 0; h < heads; ++h) {
      const float* in = x.data + r * x.stride + h * size;
      const float mean = kernel.sum_of_squares(in, size) / static_cast<float>(size);
      kernel.scale_by(in, 1.0F / std::sqrt(mean + eps), factors, y.data + r * y.stride + h * size, size);
    }
  }
}

}  // namespace reelfolio::engine::ops
