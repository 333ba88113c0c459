#pragma once

#include <cstddef>

#include "engine/kernels/attention.h"
#include "engine/tensor.h"

namespace reelfolio::engine::ops {

/// Attention without a mask, of all heads: for each head and query row s
///   out[s] = sum_t softmax_t(q[s] . k[t]) v[t]
///
/// q, out  [queries, heads * head_dim] f32, strides allowed; out may be q, not k or v
/// k, v    [keys, heads * head_dim] f32, keys >= 1
/// scratch holds packed keys and values; keep it between calls
/// head_dim is at most kernels::kAttentionHeadDim. Memory beside scratch does not grow with
/// the number of queries or keys. Heads and blocks of queries are spread over the OpenMP
/// threads of the caller; a row's result does not depend on their number, nor on other rows.
/// A score that is not finite makes no promise for its row.
void attention(const kernels::AttentionKernel& kernel, ConstMatrix q, ConstMatrix k, ConstMatrix v,
               std::size_t heads, Matrix out, MatrixBuffer& scratch);

}  // namespace reelfolio::engine::ops
