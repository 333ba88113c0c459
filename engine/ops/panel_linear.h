#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/aligned_memory.h"
#include "engine/kernels/panel_matmul.h"
#include "engine/tensor.h"

namespace reelfolio::engine::ops {

/// A linear layer through the kernels of kernels/panel_matmul.h, of the row kernels in use
/// at construction. `Linear` chooses between this and oneDNN.
///
/// Owns its copy of the weights; immutable. Runs on the OpenMP threads of the caller; several
/// threads may call it.
class PanelLinear {
 public:
  /// weights as in Linear; `bf16` keeps them as bf16 and rounds activations to bf16.
  PanelLinear(std::span<const std::byte> bytes, DType dtype, std::size_t out, std::size_t in, bool bf16);

  /// x [rows, in], y [rows, out]; strides allowed; y may not alias x.
  void apply(ConstMatrix x, Matrix y) const;

  std::size_t memory_bytes() const;

 private:
  std::size_t panels() const { return (out_ + kernels::kPanelOutputs - 1) / kernels::kPanelOutputs; }

  const kernels::PanelKernel* kernel_;
  std::size_t out_;
  std::size_t in_;
  bool bf16_;
  AlignedBytes weights_;
};

}  // namespace reelfolio::engine::ops
