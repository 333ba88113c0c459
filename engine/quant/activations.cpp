#include "engine/quant/activations.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/kernels/quant_kernels.h"
#include "engine/quant/lowbit.h"
#include "engine/quant/rotation.h"

namespace reelfolio::engine::quant {
namespace {

constexpr std::uint8_t kZero = 128;
/// Values below which waking other threads takes longer than rounding.
constexpr std::size_t kAlone = 8192;

}  // namespace

void quantize_rows(ConstMatrix x, QuantizedRows& out) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  quantize_rows(x, -kInfinity, kInfinity, out);
}

void quantize_rows(ConstMatrix x, float low, float high, QuantizedRows& out) {
  out.rows = x.rows;
  out.cols = x.cols;
  out.stride = (x.cols + kGroup - 1) / kGroup * kGroup;
  out.bytes.resize(out.rows * out.stride);
  out.scales.resize(out.rows);
  const kernels::RoundRowFunction round_row = kernels::quant_kernels().round_row;
#pragma omp parallel if (x.rows > 1 && x.rows * x.cols > kAlone)
  {
    std::vector<float> rotated(x.cols);
    kernels::RoundRowArgs args{};
    args.n = x.cols;
    args.low = low;
    args.high = high;
    args.block = rotation_block(x.cols);
    args.signs = rotation_signs().data();
    args.norm = 1.0F / std::sqrt(static_cast<float>(args.block));
    args.rotated = rotated.data();
#pragma omp for schedule(static)
    for (std::ptrdiff_t r = 0; r < static_cast<std::ptrdiff_t>(x.rows); ++r) {
      args.x = x.row(r).data();
      args.bytes = out.bytes.data() + r * out.stride;
      std::fill(args.bytes + x.cols, args.bytes + out.stride, kZero);
      out.scales[r] = round_row(args);
    }
  }
}

}  // namespace reelfolio::engine::quant
