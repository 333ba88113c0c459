#include "engine/kernels/attention.h"

namespace reelfolio::engine::kernels {

namespace {

constexpr int kWidth = 8;
constexpr int kVectors = 2;
#include "engine/kernels/attention_f32.inc"

}  // namespace

extern const AttentionKernel attention_avx2;
const AttentionKernel attention_avx2{
    "avx2",    ops::WeightType::f32, kKeyBlock* kAttentionHeadDim * sizeof(float),
    pack_keys, pack_values,          attend};

}  // namespace reelfolio::engine::kernels
