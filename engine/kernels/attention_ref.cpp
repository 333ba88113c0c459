#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "engine/kernels/attention.h"

namespace reelfolio::engine::kernels {

namespace {

/// Keys and values alike: [kKeyBlock, kAttentionHeadDim] f32.
void pack(HeadRows rows, std::size_t count, std::size_t head_dim, std::byte* packed) {
  float* target = reinterpret_cast<float*>(packed);
  std::fill_n(target, kKeyBlock * kAttentionHeadDim, 0.0F);
  for (std::size_t r = 0; r < count; ++r) {
    std::copy_n(rows.data + r * rows.stride, head_dim, target + r * kAttentionHeadDim);
  }
}

void attend_row(const float* query, std::size_t head_dim, const float* keys, const float* values,
                std::size_t num_keys, float* out) {
  std::array<float, kAttentionHeadDim> sums{};
  float maximum = -INFINITY;
  float total = 0.0F;
  for (std::size_t first = 0; first < num_keys; first += kKeyBlock) {
    const std::size_t count = std::min(kKeyBlock, num_keys - first);
    std::array<float, kKeyBlock> scores;
    for (std::size_t t = 0; t < count; ++t) {
      const float* key = keys + (first + t) * kAttentionHeadDim;
      float score = 0.0F;
      for (std::size_t d = 0; d < head_dim; ++d) score += query[d] * key[d];
      scores[t] = score;
    }
    const float highest = *std::max_element(scores.begin(), scores.begin() + count);
    if (highest > maximum) {
      const float factor = std::exp(maximum - highest);
      for (float& sum : sums) sum *= factor;
      total *= factor;
      maximum = highest;
    }
    for (std::size_t t = 0; t < count; ++t) {
      const float weight = std::exp(scores[t] - maximum);
      const float* value = values + (first + t) * kAttentionHeadDim;
      total += weight;
      for (std::size_t d = 0; d < kAttentionHeadDim; ++d) sums[d] += weight * value[d];
    }
  }
  for (std::size_t d = 0; d < head_dim; ++d) out[d] = sums[d] / total;
}

void attend(HeadRows queries, std::size_t rows, std::size_t head_dim, const std::byte* keys,
            const std::byte* values, std::size_t num_keys, float* out, std::size_t out_stride) {
  for (std::size_t r = 0; r < rows; ++r) {
    attend_row(queries.data + r * queries.stride, head_dim, reinterpret_cast<const float*>(keys),
               reinterpret_cast<const float*>(values), num_keys, out + r * out_stride);
  }
}

}  // namespace

extern const AttentionKernel attention_ref;
const AttentionKernel attention_ref{
    "ref", ops::WeightType::f32, kKeyBlock* kAttentionHeadDim * sizeof(float), pack, pack, attend};

}  // namespace reelfolio::engine::kernels
