#pragma once

#include <cstddef>
#include <memory>

#include "engine/quant/activations.h"
#include "engine/quant/packed_matrix.h"
#include "engine/tensor.h"

namespace reelfolio::engine::ops {

/// y = x W^T with int8, int4 or int2 weights and activations rounded to int8, one scale a row.
///
/// Sums are exact integers, whichever kernel forms them: oneDNN (int8 weights; 4- and 2-bit
/// weights expanded to int8 when there are many rows) or the kernels of engine/kernels. So
/// the bits of a row depend on that row and the weights alone: not on the rows beside it, on
/// threads, or on the processor.
///
/// Refers to the packed arrays, which the owner keeps alive. One thread at a time; works on
/// the OpenMP threads of the caller.
class QuantizedLinear {
 public:
  explicit QuantizedLinear(const quant::PackedMatrix& weights);
  QuantizedLinear(QuantizedLinear&&) noexcept;
  QuantizedLinear& operator=(QuantizedLinear&&) noexcept;
  ~QuantizedLinear();

  /// x from quant::quantize_rows, [rows, in]; y [rows, out], strides allowed.
  void apply(const quant::QuantizedRows& x, Matrix y) const;

  const quant::PackedMatrix& weights() const { return weights_; }

 private:
  class Int8Product;

  void apply_int8(const quant::QuantizedRows& x, Matrix y) const;
  void apply_lowbit(const quant::QuantizedRows& x, Matrix y) const;
  void apply_expanded(const quant::QuantizedRows& x, Matrix y) const;

  quant::PackedMatrix weights_;
  std::shared_ptr<Int8Product> product_;  ///< null where oneDNN's int8 product is not exact
};

}  // namespace reelfolio::engine::ops
