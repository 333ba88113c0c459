#include "engine/audio/local_attention.h"

#include <algorithm>
#include <cassert>
#include <vector>

#include "engine/kernels/row_kernels.h"

namespace reelfolio::engine::audio {

namespace {

using kernels::kTileKeys;

/// Queries that share a tile of keys: those that any of them sees must fit in kTileKeys.
constexpr std::size_t kBlock = 16;
static_assert(kBlock + kMostDistances <= kTileKeys + 1);

/// A thread's scratch memory for one block of one head.
struct Scratch {
  explicit Scratch(const LocalAttention& shape)
      : keys(kTileKeys * shape.head_dim),
        values(kTileKeys * shape.head_dim),
        out(kBlock * shape.head_dim),
        by_content(kBlock * kTileKeys),
        by_distance(kBlock * kTileKeys),
        logits(kBlock * shape.distances) {}

  std::vector<float> keys, values, out;
  std::vector<float> by_content, by_distance;  ///< [queries, kTileKeys]
  std::vector<float> logits;                   ///< [queries, distances]
};

void copy_rows(ConstMatrix x, float* target) {
  for (std::size_t r = 0; r < x.rows; ++r) std::copy_n(x.data + r * x.stride, x.cols, target + r * x.cols);
}

/// Queries q, of which row 0 sees row `before` of k and v last, and row r row before + r.
void attend(const LocalAttention& shape, ConstMatrix q, ConstMatrix k, ConstMatrix v, std::size_t before,
            const float* relative_keys, Scratch& scratch, Matrix out) {
  const auto& kernel = kernels::row_kernels();
  const std::size_t size = shape.head_dim;
  const std::size_t distances = shape.distances;
  copy_rows(k, scratch.keys.data());
  copy_rows(v, scratch.values.data());
  kernel.dot_tile(q.data, q.stride, q.rows, scratch.keys.data(), k.rows, size, scratch.by_content.data());
  kernel.dot_tile(q.data, q.stride, q.rows, relative_keys, distances, size, scratch.by_distance.data());
  // The first positions of all see fewer: the distances beyond get no weight below.
  std::fill(scratch.logits.begin(), scratch.logits.end(), 0.0F);
  for (std::size_t r = 0; r < q.rows; ++r) {
    const std::size_t seen = std::min(distances, before + r + 1);
    for (std::size_t d = 0; d < seen; ++d) {
      scratch.logits[r * distances + d] =
          scratch.by_content[r * kTileKeys + before + r - d] + scratch.by_distance[r * kTileKeys + d];
    }
  }
  kernel.soft_cap(scratch.logits.data(), shape.logit_cap, scratch.logits.data(), q.rows * distances);

  std::fill(scratch.by_content.begin(), scratch.by_content.end(), 0.0F);
  float sums[kBlock];
  const float keep[kBlock] = {};
  for (std::size_t r = 0; r < q.rows; ++r) {
    const std::size_t seen = std::min(distances, before + r + 1);
    float* logits = scratch.logits.data() + r * distances;
    sums[r] = kernel.exp_sum(logits, kernel.max(logits, seen), logits, seen);
    for (std::size_t d = 0; d < seen; ++d) scratch.by_content[r * kTileKeys + before + r - d] = logits[d];
  }
  std::fill(scratch.out.begin(), scratch.out.end(), 0.0F);
  kernel.weighted_tile(scratch.by_content.data(), keep, q.rows, scratch.values.data(), k.rows, size,
                       scratch.out.data(), size);
  for (std::size_t r = 0; r < q.rows; ++r) {
    kernel.scale_by(scratch.out.data() + r * size, 1.0F / sums[r], nullptr, out.data + r * out.stride, size);
  }
}

}  // namespace

void local_attention(const LocalAttention& shape, ConstMatrix q, ConstMatrix k, ConstMatrix v,
                     ConstMatrix relative_keys, Matrix out) {
  const std::size_t positions = q.rows;
  const std::size_t size = shape.head_dim;
  assert(shape.distances >= 1 && shape.distances <= kMostDistances);
  assert(q.cols == shape.heads * size && k.cols == q.cols && v.cols == q.cols && out.cols == q.cols);
  assert(k.rows == positions && v.rows == positions && out.rows == positions);
  assert(relative_keys.rows == shape.heads * shape.distances && relative_keys.cols == size);
  const std::size_t blocks = (positions + kBlock - 1) / kBlock;
#pragma omp parallel
  {
    Scratch scratch(shape);
#pragma omp for schedule(static)
    for (std::size_t task = 0; task < shape.heads * blocks; ++task) {
      const std::size_t head = task / blocks;
      const std::size_t first = task % blocks * kBlock;
      const std::size_t count = std::min(kBlock, positions - first);
      const std::size_t before = std::min(first, shape.distances - 1);
      const auto part = [&](auto x, std::size_t begin, std::size_t rows) {
        return x.row_block(begin, rows).col_block(head * size, size);
      };
      attend(shape, part(q, first, count), part(k, first - before, before + count),
             part(v, first - before, before + count), before,
             relative_keys.data + head * shape.distances * relative_keys.stride, scratch,
             part(out, first, count));
    }
  }
}

}  // namespace reelfolio::engine::audio
