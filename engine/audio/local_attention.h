#pragma once

#include <cstddef>

#include "engine/tensor.h"

/// Causal attention to the last few positions, with scores by content and by distance:
///   z(s, t) = cap * tanh((q[s] . k[t] + q[s] . r[s - t]) / cap)
///   out[s] = sum_t softmax_t(z(s, t)) v[t],  0 <= s - t < distances
/// (gemma4.md, section 8; relative keys as in Dai et al. 2019, appendix B).
namespace reelfolio::engine::audio {

struct LocalAttention {
  std::size_t heads = 1;
  std::size_t head_dim = 0;
  std::size_t distances = 1;  ///< that a position sees, its own included; at most 48
  float logit_cap = 0.0F;
};

/// q, k, v, out  [positions, heads * head_dim] f32, scaled already; out may be q, not k or v
/// relative_keys [heads * distances, head_dim]: row head * distances + d is r[d] of that head
/// Works on the OpenMP threads of the caller; a position's bits depend on what it sees alone.
void local_attention(const LocalAttention& shape, ConstMatrix q, ConstMatrix k, ConstMatrix v,
                     ConstMatrix relative_keys, Matrix out);

inline constexpr std::size_t kMostDistances = 48;

}  // namespace reelfolio::engine::audio
