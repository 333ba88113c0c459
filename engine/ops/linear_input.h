#pragma once

#include <limits>
#include <memory>

#include "engine/quant/activations.h"
#include "engine/tensor.h"

namespace reelfolio::engine::ops {

/// The input of one or more linear layers: q, k and v, or gate and up, read the same rows.
/// Rounding them to int8 (with its rotation) is done once, when the first quantised layer asks.
///
/// Borrows x, which must not change while this lives. One thread at a time.
class LinearInput {
 public:
  explicit LinearInput(ConstMatrix x);
  /// x limited to low .. high, for quantised layers only.
  LinearInput(ConstMatrix x, float low, float high);
  ~LinearInput();
  LinearInput(const LinearInput&) = delete;
  LinearInput& operator=(const LinearInput&) = delete;

  ConstMatrix values() const { return x_; }
  const quant::QuantizedRows& quantized() const;

 private:
  ConstMatrix x_;
  float low_ = -std::numeric_limits<float>::infinity();
  float high_ = std::numeric_limits<float>::infinity();
  mutable std::unique_ptr<quant::QuantizedRows> quantized_;
};

}  // namespace reelfolio::engine::ops
