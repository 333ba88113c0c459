#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "engine/ops/matmul.h"
#include "engine/text/attention.h"
#include "tests/engine/invariance.h"
#include "tests/engine/random_values.h"
#include "tests/support/catch.h"

namespace {

using namespace reelfolio::engine;
using reelfolio::test::same_bits;
using text::KvCache;
using text::KvLayout;
using text::QueryRun;

constexpr std::size_t kHeads = 6;
constexpr std::size_t kKvHeads = 2;
constexpr std::size_t kHeadDim = 24;
constexpr std::size_t kWindow = 100;
/// A full layer and one with a window.
constexpr std::size_t kLayerWindows[] = {0, kWindow};

/// A cache in which `positions` are reserved and stored, so that any of the last ones may be asked about, and
/// what stands in it.
struct FilledCache {
  explicit FilledCache(std::size_t positions, unsigned seed)
      : keys(reelfolio::test::normal(positions * kKvHeads * kHeadDim, seed)),
        values(reelfolio::test::normal(positions * kKvHeads * kHeadDim, seed + 1)),
        cache(layout()) {
    cache.reserve(positions);
    for (std::size_t p = 0; p < positions; ++p) {
      for (std::size_t layer = 0; layer < std::size(kLayerWindows); ++layer) {
        cache.store(layer, p, {keys.data() + p * kKvHeads * kHeadDim, kKvHeads * kHeadDim},
                    {values.data() + p * kKvHeads * kHeadDim, kKvHeads * kHeadDim});
      }
    }
  }

  static std::shared_ptr<const KvLayout> layout() {
    auto layout = std::make_shared<KvLayout>();
    layout->sliding_window = kWindow;
    layout->layers = {{LayerType::full, kKvHeads, kHeadDim}, {LayerType::sliding, kKvHeads, kHeadDim}};
    return layout;
  }

  std::vector<float> keys, values;
  KvCache cache;
};

MatrixBuffer queries(std::size_t rows, unsigned seed) {
  MatrixBuffer q(rows, kHeads * kHeadDim);
  const std::vector<float> numbers = reelfolio::test::normal(rows * kHeads * kHeadDim, seed);
  for (std::size_t r = 0; r < rows; ++r) {
    std::copy_n(numbers.begin() + static_cast<std::ptrdiff_t>(r * kHeads * kHeadDim), kHeads * kHeadDim,
                q.row(r).data());
  }
  return q;
}

MatrixBuffer attended(std::span<const QueryRun> runs, const MatrixBuffer& q, std::size_t layer) {
  MatrixBuffer out(q.rows(), kHeads * kHeadDim);
  text::attend(runs, q.view(), kHeads, layer, kLayerWindows[layer], out.view());
  return out;
}

/// The definition, in double: element d of head `head`.
std::vector<double> exact(const FilledCache& filled, ConstVector q, std::size_t head, std::size_t position,
                          std::size_t window) {
  const std::size_t first = window == 0 || position + 1 <= window ? 0 : position + 1 - window;
  const std::size_t kv_head = head / (kHeads / kKvHeads);
  const auto row = [&](const std::vector<float>& all, std::size_t p) {
    return all.data() + (p * kKvHeads + kv_head) * kHeadDim;
  };
  std::vector<double> scores;
  for (std::size_t p = first; p <= position; ++p) {
    double score = 0;
    for (std::size_t d = 0; d < kHeadDim; ++d)
      score += static_cast<double>(q[head * kHeadDim + d]) * row(filled.keys, p)[d];
    scores.push_back(score);
  }
  const double top = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  std::vector<double> out(kHeadDim);
  for (std::size_t p = first; p <= position; ++p) {
    const double weight = std::exp(scores[p - first] - top);
    sum += weight;
    for (std::size_t d = 0; d < kHeadDim; ++d) out[d] += weight * row(filled.values, p)[d];
  }
  for (double& value : out) value /= sum;
  return out;
}

}  // namespace

TEST_CASE("causal attention: agrees with the definition about and behind the borders of spans") {
  constexpr std::size_t kPositions = 6203;
  const FilledCache filled(kPositions, 21);
  for (const std::size_t first :
       {std::size_t{0}, std::size_t{60}, std::size_t{2040}, std::size_t{4095}, kPositions - 20}) {
    const QueryRun run{&filled.cache, 0, 20, first};
    const MatrixBuffer q = queries(run.rows, 23);
    for (std::size_t layer = 0; layer < std::size(kLayerWindows); ++layer) {
      const MatrixBuffer out = attended({&run, 1}, q, layer);
      for (std::size_t r = 0; r < run.rows; ++r) {
        CAPTURE(first, r, layer);
        double worst = 0;
        for (std::size_t head = 0; head < kHeads; ++head) {
          const std::vector<double> expected = exact(filled, q.row(r), head, first + r, kLayerWindows[layer]);
          for (std::size_t d = 0; d < kHeadDim; ++d) {
            worst =
                std::max(worst, std::abs(expected[d] - static_cast<double>(out.row(r)[head * kHeadDim + d])));
          }
        }
        CHECK(worst < 2e-5);
      }
    }
  }
}

TEST_CASE("causal attention: a row has the same bits for any threads, alone or in a batch") {
  const reelfolio::test::RestoreThreads restore;
  const FilledCache longer(9000, 31);
  const FilledCache shorter(70, 33);
  // Two rows with three spans and more behind them, beside a whole prompt.
  const std::vector<QueryRun> runs = {
      {&longer.cache, 0, 1, 8999}, {&shorter.cache, 1, 70, 0}, {&longer.cache, 71, 9, 4090}};
  const MatrixBuffer q = queries(80, 35);
  for (std::size_t layer = 0; layer < std::size(kLayerWindows); ++layer) {
    ops::set_num_threads(1);
    const MatrixBuffer together = attended(runs, q, layer);
    for (const int threads : {2, 3, 5, 24}) {
      ops::set_num_threads(threads);
      const MatrixBuffer again = attended(runs, q, layer);
      for (const std::size_t row : {0, 1, 30, 70, 71, 75, 79}) {
        CAPTURE(layer, threads, row);
        CHECK(same_bits(again.row(row), together.row(row)));
        const QueryRun& run = row == 0 ? runs[0] : row < 71 ? runs[1] : runs[2];
        const QueryRun alone{run.cache, 0, 1, run.first_position + (row - run.first_row)};
        MatrixBuffer single(1, kHeads * kHeadDim);
        std::copy_n(q.row(row).data(), kHeads * kHeadDim, single.row(0).data());
        CHECK(same_bits(attended({&alone, 1}, single, layer).row(0), together.row(row)));
      }
    }
  }
}
