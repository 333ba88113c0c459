#pragma once

#include <cstddef>
#include <limits>
#include <memory>
#include <span>

#include "engine/quant/activations.h"
#include "engine/quant/packed_matrix.h"
#include "engine/tensor.h"

namespace reelfolio::engine::ops {

/// y = x W^T with int8, int4 or int2 weights and activations rounded to int8, one scale a row.
///
/// Sums are exact integers, whichever kernel forms them: those of engine/kernels, which beat oneDNN
/// where VNNI is the fastest unit (tests/bench/int8_bench.cpp), or oneDNN for many rows where the
/// processor has AMX. 4- and 2-bit weights are expanded to int8 when there are many rows. So the
/// bits of a row depend on that row and the weights alone: not on the rows beside it, on threads,
/// or on the processor.
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

  /// One of several products of the same input.
  struct Product {
    const QuantizedLinear* linear = nullptr;
    Matrix y;
    float low = -std::numeric_limits<float>::infinity();  ///< y is limited to low .. high
    float high = std::numeric_limits<float>::infinity();

    bool limited() const {
      return low > -std::numeric_limits<float>::infinity() || high < std::numeric_limits<float>::infinity();
    }
  };
  /// All of them in one parallel region: threads that have done their share of a small matrix go
  /// on to the next without waiting for the others.
  static void apply_all(const quant::QuantizedRows& x, std::span<const Product> products);

  const quant::PackedMatrix& weights() const { return weights_; }

 private:
  class Int8Product;

  bool through_onednn(std::size_t rows) const;
  static void limit_tile(const Product& product, std::size_t tile, std::size_t first_row, std::size_t rows);
  void apply_onednn(const quant::QuantizedRows& x, Matrix y) const;
  void apply_tile(const quant::QuantizedRows& x, std::size_t tile, std::size_t first_row, std::size_t rows,
                  Matrix y) const;

  quant::PackedMatrix weights_;
  std::shared_ptr<Int8Product> product_;  ///< null where oneDNN's int8 product is not exact or not wanted
};

}  // namespace reelfolio::engine::ops
