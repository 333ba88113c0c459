#include "engine/text/attention.h"

#include <omp.h>

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

/// Pages of a span. Full layers sum up each span of keys by itself and then put the spans together in order,
/// whoever summed them: so many threads can share one long sequence. 2,048 keys cost far more than putting
/// them together.
constexpr std::size_t kSpanPages = 32;
/// Sums of spans that wait to be put together, at most, in floats.
constexpr std::size_t kMaxWaitingFloats = std::size_t{16} << 20;

/// Some positions of one run, for the query heads that share one KV head.
struct Task {
  const QueryRun* run = nullptr;
  std::size_t kv_head = 0;
  std::size_t offset = 0;  ///< first position of the task, from the run's first
  std::size_t positions = 0;

  std::size_t first_position() const { return run->first_position + offset; }
  std::size_t end_position() const { return first_position() + positions; }
};

/// What a task reads and where it writes, the same for all tasks of a call.
struct Call {
  ConstMatrix q;
  std::size_t layer = 0;
  std::size_t window = 0;
  std::size_t head_dim = 0;
  std::size_t group = 0;  ///< query heads of one KV head
  Matrix out;

  std::size_t first_visible(std::size_t position) const {
    return window == 0 || position + 1 <= window ? 0 : position + 1 - window;
  }
  std::size_t rows(const Task& task) const { return task.positions * group; }
  std::size_t first_column(const Task& task) const { return task.kv_head * group * head_dim; }
};

/// Pages [first, end) of a task.
struct Span {
  std::size_t first = 0;
  std::size_t end = 0;
};

/// Spans on a fixed grid of positions; a window, which is short, is one span.
std::vector<Span> spans_of(const Call& call, const Task& task) {
  const std::size_t end = (task.end_position() + kPagePositions - 1) / kPagePositions;
  if (call.window != 0) return {{call.first_visible(task.first_position()) / kPagePositions, end}};
  std::vector<Span> spans;
  for (std::size_t first = 0; first < end; first += kSpanPages) {
    spans.push_back({first, std::min(first + kSpanPages, end)});
  }
  return spans;
}

/// For each row of a task what the keys so far come to: the largest score, the sum of exp(score - top), and
/// that sum with the values as weights, [head_dim].
struct SpanSums {
  float* top = nullptr;
  float* sum = nullptr;
  float* out = nullptr;

  /// In `memory`, which grows where it has to.
  static SpanSums in(std::vector<float>& memory, std::size_t rows, std::size_t head_dim) {
    memory.resize(std::max(memory.size(), floats(rows, head_dim)));
    return at(memory.data(), rows);
  }
  static std::size_t floats(std::size_t rows, std::size_t head_dim) { return rows * (head_dim + 2); }
  static SpanSums at(float* memory, std::size_t rows) { return {memory, memory + rows, memory + 2 * rows}; }
};

/// Memory of one thread.
struct AttentionWorkspace {
  AttentionWorkspace(std::size_t rows, std::size_t head_dim)
      : q(rows * head_dim), page(kTileKeys * head_dim), scores(rows * kTileKeys), keep(rows) {}

  std::vector<float> q, page, scores;
  std::vector<float> keep;         ///< factor for what is summed so far
  std::vector<float> total, part;  ///< of run_task, as large as it has needed
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

void sum_span(const Call& call, const Task& task, Span span, AttentionWorkspace& work, SpanSums sums) {
  const auto& kernel = kernels::row_kernels();
  const KvCache& cache = *task.run->cache;
  const std::size_t head_dim = call.head_dim;
  const std::size_t rows = call.rows(task);
  std::fill_n(sums.top, rows, kMasked);
  std::fill_n(sums.sum, rows, 0.0F);
  std::fill_n(sums.out, rows * head_dim, 0.0F);

  for (std::size_t page = span.first; page < span.end; ++page) {
    const std::size_t start = page * kPagePositions;
    const std::size_t keys = std::min(kPagePositions, task.end_position() - start);
    kernel.dot_tile(work.q.data(), head_dim, rows,
                    cache.keys(call.layer, page, task.kv_head, keys, work.page.data()), keys, head_dim,
                    work.scores.data());
    for (std::size_t r = 0; r < rows; ++r) {
      const std::size_t position = task.first_position() + r / call.group;
      const std::size_t from = call.first_visible(position);
      const std::size_t first = from > start ? std::min(from - start, kPagePositions) : 0;
      const std::size_t end = position < start ? 0 : std::min(position + 1 - start, keys);
      weigh(work.scores.data() + r * kTileKeys, std::min(first, end), end, sums.top[r], sums.sum[r],
            work.keep[r]);
    }
    kernel.weighted_tile(work.scores.data(), work.keep.data(), rows,
                         cache.values(call.layer, page, task.kv_head, keys, work.page.data()), keys, head_dim,
                         sums.out, head_dim);
  }
}

/// Adds the sums of later keys, `part`, to `total`.
void put_together(SpanSums total, SpanSums part, std::size_t rows, std::size_t head_dim) {
  const auto& kernel = kernels::row_kernels();
  for (std::size_t r = 0; r < rows; ++r) {
    if (part.top[r] == kMasked) continue;
    const float top = std::max(total.top[r], part.top[r]);
    const float differences[] = {total.top[r] - top, part.top[r] - top};
    float factors[2];
    kernel.exp(differences, factors, 2);
    total.top[r] = top;
    total.sum[r] = total.sum[r] * factors[0] + part.sum[r] * factors[1];
    kernel.weighted_tile(&factors[1], &factors[0], 1, part.out + r * head_dim, 1, head_dim,
                         total.out + r * head_dim, head_dim);
  }
}

void gather_queries(const Call& call, const Task& task, AttentionWorkspace& work) {
  const std::size_t size = call.group * call.head_dim;
  for (std::size_t p = 0; p < task.positions; ++p) {
    std::memcpy(work.q.data() + p * size,
                call.q.row(task.run->first_row + task.offset + p).data() + call.first_column(task),
                size * sizeof(float));
  }
}

void write_results(const Call& call, const Task& task, SpanSums total) {
  const std::size_t first_row = task.run->first_row + task.offset;
  for (std::size_t r = 0; r < call.rows(task); ++r) {
    float* target = call.out.row(first_row + r / call.group).data() + call.first_column(task) +
                    r % call.group * call.head_dim;
    kernels::row_kernels().scale_by(total.out + r * call.head_dim, 1.0F / total.sum[r], nullptr, target,
                                    call.head_dim);
  }
}

void run_task(const Call& call, const Task& task, AttentionWorkspace& work) {
  const std::size_t rows = call.rows(task);
  const SpanSums total = SpanSums::in(work.total, rows, call.head_dim);
  const std::vector<Span> spans = spans_of(call, task);
  gather_queries(call, task, work);
  sum_span(call, task, spans.front(), work, total);
  for (std::size_t i = 1; i < spans.size(); ++i) {
    const SpanSums part = SpanSums::in(work.part, rows, call.head_dim);
    sum_span(call, task, spans[i], work, part);
    put_together(total, part, rows, call.head_dim);
  }
  write_results(call, task, total);
}

/// One span of a task, and where its sums wait.
struct Piece {
  const Task* task = nullptr;
  Span span;
  std::size_t sums = 0;  ///< first float
};

/// The pieces of all tasks, those of a task in order.
std::vector<Piece> pieces_of(const Call& call, std::span<const Task> tasks) {
  std::vector<Piece> pieces;
  std::size_t floats = 0;
  for (const Task& task : tasks) {
    for (const Span span : spans_of(call, task)) {
      pieces.push_back({&task, span, floats});
      floats += SpanSums::floats(call.rows(task), call.head_dim);
    }
  }
  return pieces;
}

/// As run_task for each task, with the same results to the bit, but threads share tasks.
void run_pieces(const Call& call, std::span<const Piece> pieces, std::size_t max_rows) {
  const Piece& last = pieces.back();
  std::vector<float> sums(last.sums + SpanSums::floats(call.rows(*last.task), call.head_dim));
  const auto sums_of = [&](const Piece& piece) {
    return SpanSums::at(sums.data() + piece.sums, call.rows(*piece.task));
  };
#pragma omp parallel
  {
    AttentionWorkspace work(max_rows, call.head_dim);
#pragma omp for schedule(dynamic)
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      gather_queries(call, *pieces[i].task, work);
      sum_span(call, *pieces[i].task, pieces[i].span, work, sums_of(pieces[i]));
    }
#pragma omp for schedule(dynamic)
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const Task& task = *pieces[i].task;
      if (i > 0 && pieces[i - 1].task == &task) continue;
      const SpanSums total = sums_of(pieces[i]);
      for (std::size_t next = i + 1; next < pieces.size() && pieces[next].task == &task; ++next) {
        put_together(total, sums_of(pieces[next]), call.rows(task), call.head_dim);
      }
      write_results(call, task, total);
    }
  }
}

}  // namespace

void attend(std::span<const QueryRun> runs, ConstMatrix q, std::size_t num_heads, std::size_t layer,
            std::size_t window, Matrix out) {
  if (runs.empty()) return;
  const KvLayout::Layer& shape = runs.front().cache->layout().layers[layer];
  assert(q.cols == num_heads * shape.head_dim && out.cols == q.cols && num_heads % shape.num_kv_heads == 0);
  const Call call = {q, layer, window, shape.head_dim, num_heads / shape.num_kv_heads, out};
  const std::size_t positions = std::max<std::size_t>(1, kTileRows / call.group);

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
  const std::size_t max_rows = positions * call.group;
  if (window == 0 && tasks.size() < static_cast<std::size_t>(omp_get_max_threads())) {
    const std::vector<Piece> pieces = pieces_of(call, tasks);
    if (pieces.size() > tasks.size() && pieces.back().sums <= kMaxWaitingFloats) {
      run_pieces(call, pieces, max_rows);
      return;
    }
  }
#pragma omp parallel if (tasks.size() > 1)
  {
    AttentionWorkspace work(max_rows, call.head_dim);
#pragma omp for schedule(dynamic)
    for (std::size_t i = 0; i < tasks.size(); ++i) {
      run_task(call, tasks[i], work);
    }
  }
}

}  // namespace reelfolio::engine::text
