#pragma once

#include <cstddef>
#include <span>

#include "engine/tensor.h"
#include "engine/text/kv_cache.h"

namespace reelfolio::engine::text {

/// Consecutive rows of a batch that belong to one sequence and stand at consecutive positions.
struct QueryRun {
  const KvCache* cache = nullptr;
  std::size_t first_row = 0;
  std::size_t rows = 0;
  std::size_t first_position = 0;
};

/// Causal attention of a batch over its caches, scores q . k unscaled:
///   out[s] = sum over visible t of softmax_t(q[s] . k[t]) v[t]
///
/// q, out  [rows, num_heads * head_dim] f32, heads in order; out may not alias q
/// layer   the layer whose keys and values are read; query head j reads kv head
///         j / (num_heads / num_kv_heads). The cache holds the runs' own positions.
/// window  0: every t <= s is visible; else those with s - t < window
///
/// Streams over keys page by page with running maximum and sum (Milakov & Gimelshein
/// 2018), so memory does not grow with the sequence. Full layers do so in spans of 2,048 keys, whose sums are
/// then put together in order; where there are more threads than heads and blocks of queries, they share the
/// spans (64 MiB of sums at most wait then). The result of a row depends on its query and the visible keys
/// and values alone: not on the batch, chunks or threads.
void attend(std::span<const QueryRun> runs, ConstMatrix q, std::size_t num_heads, std::size_t layer,
            std::size_t window, Matrix out);

}  // namespace reelfolio::engine::text
