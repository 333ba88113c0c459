#include "engine/text/attention.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "engine/kernels/row_kernels.h"

namespace reelfolio::engine::text {

namespace {

using kernels::kTileKeys;

/// Query vectors (positions times heads of one group) that read a page together.
/// 32 x 512 f32 of queries and as much of sums stay in a second-level cache beside the page.
constexpr std::size_t kTileRows = 32;
constexpr float kMasked = -std::numeric_limits<float>::infinity();

/// Some positions of one run, for the query heads that share one KV head.
struct Task {
  const QueryRun* run = nullptr;
  std::size_t kv_head = 0;
  std::size_t offset = 0;  ///< first position of the task, from the run's first
  std::size_t positions = 0;
};

/// Memory of one thread.
struct AttentionWorkspace {
  AttentionWorkspace(std::size_t rows, std::size_t head_dim)
      : q(rows * head_dim),
        out(rows * head_dim),
        page(kTileKeys * head_dim),
        scores(rows * kTileKeys),
        top(rows),
        sum(rows),
        keep(rows) {}

  std::vector<float> q, out, page, scores;
  std::vector<float> top, sum, keep;  ///< running maximum, running sum, factor for what is summed so far
};

/// Softmax weights of one page for one row, in place; updates the row's running values.
void weigh(float* scores, std::size_t first, std::size_t end, float& top, float& sum, float& keep) {
  const auto& kernel = kernels::row_kernels();
  std::fill(scores, scores + first, kMasked);
  std::fill(scores + end, scores + kTileKeys, kMasked);
  const float page_top = first < end ? kernel.max(scores, kTileKeys) : kMasked;
  if (page_top == kMasked) {
    std::fill(scores, scores + kTileKeys, 0.0F);
    keep = 1.0F;
    return;
  }
  const float new_top = std::max(top, page_top);
  const float difference = top - new_top;
  kernel.exp(&difference, &keep, 1);
  // Always over the whole page, so that the order of the sum is the row's own.
  sum = sum * keep + kernel.exp_sum(scores, new_top, scores, kTileKeys);
  top = new_top;
}

void run_task(const Task& task, ConstMatrix q, std::size_t num_heads, std::size_t layer, std::size_t window,
              Matrix out, AttentionWorkspace& work) {
  const auto& kernel = kernels::row_kernels();
  const KvCache& cache = *task.run->cache;
  const KvLayout::Layer& shape = cache.layout().layers[layer];
  const std::size_t head_dim = shape.head_dim;
  const std::size_t group = num_heads / shape.num_kv_heads;
  const std::size_t rows = task.positions * group;
  const std::size_t first_row = task.run->first_row + task.offset;
  const std::size_t first_position = task.run->first_position + task.offset;
  const std::size_t last_position = first_position + task.positions - 1;
  const std::size_t end_position = task.run->first_position + task.run->rows;
  const std::size_t column = task.kv_head * group * head_dim;

  for (std::size_t p = 0; p < task.positions; ++p) {
    std::memcpy(work.q.data() + p * group * head_dim, q.row(first_row + p).data() + column,
                group * head_dim * sizeof(float));
  }
  std::fill_n(work.out.begin(), rows * head_dim, 0.0F);
  std::fill_n(work.top.begin(), rows, kMasked);
  std::fill_n(work.sum.begin(), rows, 0.0F);

  const auto first_visible = [window](std::size_t position) {
    return window == 0 || position + 1 <= window ? 0 : position + 1 - window;
  };
  const std::size_t last_page = last_position / kPagePositions;
  for (std::size_t page = first_visible(first_position) / kPagePositions; page <= last_page; ++page) {
    const std::size_t start = page * kPagePositions;
    const std::size_t keys = std::min({kPagePositions, end_position - start, last_position + 1 - start});
    kernel.dot_tile(work.q.data(), head_dim, rows,
                    cache.keys(layer, page, task.kv_head, keys, work.page.data()), keys, head_dim,
                    work.scores.data());
    for (std::size_t r = 0; r < rows; ++r) {
      const std::size_t position = first_position + r / group;
      const std::size_t from = first_visible(position);
      const std::size_t first = from > start ? std::min(from - start, kPagePositions) : 0;
      const std::size_t end = position < start ? 0 : std::min(position + 1 - start, keys);
      weigh(work.scores.data() + r * kTileKeys, std::min(first, end), end, work.top[r], work.sum[r],
            work.keep[r]);
    }
    kernel.weighted_tile(work.scores.data(), work.keep.data(), rows,
                         cache.values(layer, page, task.kv_head, keys, work.page.data()), keys, head_dim,
                         work.out.data(), head_dim);
  }
  for (std::size_t r = 0; r < rows; ++r) {
    float* target = out.row(first_row + r / group).data() + column + r % group * head_dim;
    kernel.scale_by(work.out.data() + r * head_dim, 1.0F / work.sum[r], nullptr, target, head_dim);
  }
}

}  // namespace

void attend(std::span<const QueryRun> runs, ConstMatrix q, std::size_t num_heads, std::size_t layer,
            std::size_t window, Matrix out) {
  if (runs.empty()) return;
  const KvLayout::Layer& shape = runs.front().cache->layout().layers[layer];
  assert(q.cols == num_heads * shape.head_dim && out.cols == q.cols && num_heads % shape.num_kv_heads == 0);
  const std::size_t group = num_heads / shape.num_kv_heads;
  const std::size_t positions = std::max<std::size_t>(1, kTileRows / group);

  std::vector<Task> tasks;
  for (const QueryRun& run : runs) {
    // Later positions see more keys; taken first, they leave the short ones to fill in.
    for (std::size_t done = 0; done < run.rows;) {
      const std::size_t left = run.rows - done;
      const std::size_t count = left % positions == 0 ? positions : left % positions;
      for (std::size_t head = 0; head < shape.num_kv_heads; ++head) {
        tasks.push_back({&run, head, left - count, count});
      }
      done += count;
    }
  }
#pragma omp parallel if (tasks.size() > 1)
  {
    AttentionWorkspace work(positions * group, shape.head_dim);
#pragma omp for schedule(dynamic)
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      run_task(tasks[i], q, num_heads, layer, window, out, work);
    }
  }
}

}  // namespace reelfolio::engine::text
