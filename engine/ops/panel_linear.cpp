#include "engine/ops/panel_linear.h"

#include <omp.h>

#include <algorithm>
#include <cassert>
#include <vector>

#include "engine/kernels/row_kernels.h"
#include "engine/ops/gather.h"

namespace reelfolio::engine::ops {

using kernels::kPanelOutputs;

namespace {

/// Rows packed and multiplied at a time, which bounds the scratch memory. A multiple of every
/// kernel's tile.
constexpr std::size_t kRowsAtOnce = 576;

/// Rows first, first + 1, ... of x as one tile.
void pack_tile(ConstMatrix x, std::size_t first, std::size_t height, bool bf16, float* tile) {
  const kernels::RowKernels& loops = kernels::row_kernels();
  std::vector<std::uint16_t> halves(bf16 ? x.cols : 0);
  std::vector<float> rounded(halves.size());
  for (std::size_t r = 0; r < height; ++r) {
    const float* row = x.data + (first + r) * x.stride;
    if (bf16) {
      loops.f32_to_bf16(row, halves.data(), x.cols);
      loops.bf16_to_f32(halves.data(), rounded.data(), x.cols);
      row = rounded.data();
    }
    for (std::size_t k = 0; k < x.cols; ++k) tile[k * height + r] = row[k];
  }
}

}  // namespace

// Blocks of packed rows are whole groups of panels.
static_assert(quant::kTileRows == kernels::kPanelsTogether * kPanelOutputs);

PanelLinear::PanelLinear(std::span<const std::byte> bytes, DType dtype, std::size_t out, std::size_t in)
    : kernel_(&kernels::panel_kernel()), out_(out), in_(in) {
  f32_ = allocate_aligned(memory_bytes());
  auto* weights = reinterpret_cast<float*>(f32_.get());
#pragma omp parallel
  {
    std::vector<float> rows(kPanelOutputs * in);
#pragma omp for schedule(static)
    for (std::size_t panel = 0; panel < panels(); ++panel) {
      const std::size_t first = panel * kPanelOutputs;
      const std::size_t count = std::min(kPanelOutputs, out - first);
      std::fill(rows.begin(), rows.end(), 0.0F);
      convert_to_f32(bytes, dtype, first * in, std::span(rows).first(count * in));
      float* target = weights + first * in;
      for (std::size_t k = 0; k < in; ++k) {
        for (std::size_t n = 0; n < kPanelOutputs; ++n) target[k * kPanelOutputs + n] = rows[n * in + k];
      }
    }
  }
}

PanelLinear::PanelLinear(const quant::PackedMatrix& bf16)
    : kernel_(&kernels::panel_kernel()), out_(bf16.shape.out), in_(bf16.shape.in), bf16_(bf16) {
  assert(bf16.shape.format == quant::Format::bf16);
}

void PanelLinear::apply(ConstMatrix x, Matrix y) const {
  assert(x.cols == in_ && y.cols == out_ && x.rows == y.rows);
  thread_local Scratch scratch;
  const std::size_t tile_rows = kernel_->tile_rows;
  assert(kRowsAtOnce % tile_rows == 0);
  for (std::size_t first = 0; first < x.rows; first += kRowsAtOnce) {
    const ConstMatrix part = x.row_block(first, std::min(kRowsAtOnce, x.rows - first));
    const std::size_t tiles = (part.rows + tile_rows - 1) / tile_rows;
    auto* packed = scratch.get_array<float>(part.rows * in_);
#pragma omp parallel
    {
#pragma omp for schedule(static)
      for (std::size_t tile = 0; tile < tiles; ++tile) {
        const std::size_t row = tile * tile_rows;
        pack_tile(part, row, std::min(tile_rows, part.rows - row), bf16_.has_value(), packed + row * in_);
      }
      const auto threads = static_cast<std::size_t>(omp_get_num_threads());
      const auto thread = static_cast<std::size_t>(omp_get_thread_num());
      kernels::PanelArgs args{};
      args.bf16 = bf16_.has_value();
      args.weights = bf16_ ? static_cast<const void*>(bf16_->codes) : f32_.get();
      args.pairs = bf16_ ? bf16_->shape.padded_inputs() / 2 : 0;
      args.in = in_;
      args.out = out_;
      // Panels that lie side by side go to one thread.
      const std::size_t groups = (panels() + kernels::kPanelsTogether - 1) / kernels::kPanelsTogether;
      args.first_panel = groups * thread / threads * kernels::kPanelsTogether;
      args.last_panel = std::min(panels(), groups * (thread + 1) / threads * kernels::kPanelsTogether);
      args.x = packed;
      args.rows = part.rows;
      args.y = y.data + first * y.stride;
      args.y_stride = y.stride;
      kernel_->multiply(args);
    }
  }
}

std::size_t PanelLinear::memory_bytes() const {
  return bf16_ ? bf16_->shape.total_bytes() : panels() * kPanelOutputs * in_ * sizeof(float);
}

}  // namespace reelfolio::engine::ops
