#include "engine/kernels/attention.h"

namespace reelfolio::engine::kernels {

namespace {

constexpr int kWidth = 16;
constexpr int kVectors = 4;
#include "engine/kernels/attention_f32.inc"

}  // namespace

extern const AttentionKernel attention_avx512;
const AttentionKernel attention_avx512{
    "avx512",  ops::WeightType::f32, kKeyBlock* kAttentionHeadDim * sizeof(float),
    pack_keys, pack_values,          attend};

}  // namespace reelfolio::engine::kernels
