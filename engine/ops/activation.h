#pragma once

#include "engine/tensor.h"

/// Element-wise functions and softmax. All are f32, work row by row in a fixed order
/// and spread rows over the threads of the caller; y may be x.
///
/// exp is 2^n times a polynomial: relative error below 2e-7 for results in the normal
/// range, 0 below -87.3, capped at exp(88.3) above. tanh is within 2e-7 of the exact
/// value (absolute). Both are tested over their whole range.
namespace reelfolio::engine::ops {

/// The tanh form of GELU: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
void gelu_tanh(ConstMatrix x, Matrix y);
/// y = gelu_tanh(x) * factor: the gate of an MLP in one pass.
void gelu_tanh_mul(ConstMatrix x, ConstMatrix factor, Matrix y);
/// x * sigmoid(x), and sigmoid itself.
void silu(ConstMatrix x, Matrix y);
void sigmoid(ConstMatrix x, Matrix y);
/// cap * tanh(x / cap).
void soft_cap(ConstMatrix x, float cap, Matrix y);
/// Softmax of each row; -infinity stands for a masked element and gives 0. A row
/// that is masked throughout gives zeros.
void softmax(ConstMatrix x, Matrix y);
/// y = x + z, element by element; y = x * factor.
void add(ConstMatrix x, ConstMatrix z, Matrix y);
void scale(ConstMatrix x, float factor, Matrix y);
/// y = min(max(x, low), high).
void clamp(ConstMatrix x, float low, float high, Matrix y);

}  // namespace reelfolio::engine::ops
