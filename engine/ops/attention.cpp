#include "engine/ops/attention.h"

#include <algorithm>
#include <cassert>

namespace reelfolio::engine::ops {

using kernels::kKeyBlock;
using kernels::kQueryBlock;

void attention(const kernels::AttentionKernel& kernel, ConstMatrix q, ConstMatrix k, ConstMatrix v,
               std::size_t heads, Matrix out, MatrixBuffer& scratch) {
  const std::size_t head_dim = q.cols / heads;
  assert(head_dim * heads == q.cols && head_dim <= kernels::kAttentionHeadDim);
  assert(k.cols == q.cols && v.cols == q.cols && out.cols == q.cols);
  assert(k.rows == v.rows && out.rows == q.rows && k.rows >= 1);

  const std::size_t key_blocks = (k.rows - 1) / kKeyBlock + 1;
  const std::size_t query_blocks = (q.rows + kQueryBlock - 1) / kQueryBlock;
  const std::size_t head_bytes = key_blocks * kernel.block_bytes;
  // All heads' keys, then all heads' values.
  scratch.resize(2 * heads * key_blocks, kernel.block_bytes / sizeof(float));
  std::byte* keys = reinterpret_cast<std::byte*>(scratch.view().data);
  std::byte* values = keys + heads * head_bytes;

#pragma omp parallel
  {
#pragma omp for schedule(static)
    for (std::size_t task = 0; task < heads * key_blocks; ++task) {
      const std::size_t head = task / key_blocks;
      const std::size_t first = task % key_blocks * kKeyBlock;
      const std::size_t count = std::min(kKeyBlock, k.rows - first);
      const std::size_t column = head * head_dim;
      kernel.pack_keys({k.data + first * k.stride + column, k.stride}, count, head_dim,
                       keys + task * kernel.block_bytes);
      kernel.pack_values({v.data + first * v.stride + column, v.stride}, count, head_dim,
                         values + task * kernel.block_bytes);
    }
    // One head after the other, so that threads share its packed keys and values in cache.
#pragma omp for schedule(dynamic)
    for (std::size_t task = 0; task < heads * query_blocks; ++task) {
      const std::size_t head = task / query_blocks;
      const std::size_t first = task % query_blocks * kQueryBlock;
      const std::size_t count = std::min(kQueryBlock, q.rows - first);
      const std::size_t column = head * head_dim;
      kernel.attend({q.data + first * q.stride + column, q.stride}, count, head_dim, keys + head * head_bytes,
                    values + head * head_bytes, k.rows, out.data + first * out.stride + column, out.stride);
    }
  }
}

}  // namespace reelfolio::engine::ops
