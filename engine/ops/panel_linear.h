#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "engine/aligned_memory.h"
#include "engine/kernels/panel_matmul.h"
#include "engine/quant/packed_matrix.h"
#include "engine/tensor.h"

namespace reelfolio::engine::ops {

/// A linear layer through the kernels of kernels/panel_matmul.h, of the row kernels in use
/// at construction. `Linear` chooses between this and oneDNN.
///
/// Immutable. Runs on the OpenMP threads of the caller; several threads may call it.
class PanelLinear {
 public:
  /// f32 weights, of which this owns a copy; as in Linear.
  PanelLinear(std::span<const std::byte> bytes, DType dtype, std::size_t out, std::size_t in);
  /// bf16 weights, borrowed; activations are rounded to bf16.
  explicit PanelLinear(const quant::PackedMatrix& bf16);

  /// x [rows, in], y [rows, out]; strides allowed; y may not alias x.
  void apply(ConstMatrix x, Matrix y) const;

  /// Bytes of the weights.
  std::size_t memory_bytes() const;

 private:
  std::size_t panels() const { return (out_ + kernels::kPanelOutputs - 1) / kernels::kPanelOutputs; }

  const kernels::PanelKernel* kernel_;
  std::size_t out_;
  std::size_t in_;
  AlignedBytes f32_;
  std::optional<quant::PackedMatrix> bf16_;
};

}  // namespace reelfolio::engine::ops
