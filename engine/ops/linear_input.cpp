#include "engine/ops/linear_input.h"

#include <utility>
#include <vector>

namespace reelfolio::engine::ops {

namespace {

/// Buffers of finished inputs, so that a layer allocates nothing.
std::vector<std::unique_ptr<quant::QuantizedRows>>& spare_buffers() {
  thread_local std::vector<std::unique_ptr<quant::QuantizedRows>> buffers;
  return buffers;
}

}  // namespace

LinearInput::LinearInput(ConstMatrix x) : x_(x) {}

LinearInput::LinearInput(ConstMatrix x, float low, float high) : x_(x), low_(low), high_(high) {}

LinearInput::~LinearInput() {
  if (quantized_) spare_buffers().push_back(std::move(quantized_));
}

const quant::QuantizedRows& LinearInput::quantized() const {
  if (!quantized_) {
    auto& spare = spare_buffers();
    if (spare.empty()) {
      quantized_ = std::make_unique<quant::QuantizedRows>();
    } else {
      quantized_ = std::move(spare.back());
      spare.pop_back();
    }
    quant::quantize_rows(x_, low_, high_, *quantized_);
  }
  return *quantized_;
}

}  // namespace reelfolio::engine::ops
