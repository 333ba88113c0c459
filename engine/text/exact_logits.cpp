#include "engine/text/exact_logits.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <utility>

namespace reelfolio::engine::text {

namespace {

/// Eight sums side by side, which the compiler keeps in vector registers without reordering anything.
float product_of(ConstVector a, ConstVector b) {
  constexpr std::size_t kSums = 8;
  std::array<float, kSums> sums{};
  std::size_t i = 0;
  for (; i + kSums <= a.size(); i += kSums) {
    for (std::size_t k = 0; k < kSums; ++k) sums[k] += a[i + k] * b[i + k];
  }
  float total = 0.0F;
  for (; i < a.size(); ++i) total += a[i] * b[i];
  for (const float sum : sums) total += sum;
  return total;
}

}  // namespace

std::vector<std::size_t> largest_logits(ConstVector logits, std::size_t count) {
  using Entry = std::pair<float, std::size_t>;
  const auto ahead = [](const Entry& a, const Entry& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  };
  std::vector<Entry> heap;  // the last of them in front
  for (std::size_t id = 0; id < logits.size() && count > 0; ++id) {
    const float logit = logits[id];
    if (heap.size() < count) {
      if (logit != logit) continue;
      heap.emplace_back(logit, id);
      std::push_heap(heap.begin(), heap.end(), ahead);
    } else if (logit > heap.front().first) {
      std::pop_heap(heap.begin(), heap.end(), ahead);
      heap.back() = {logit, id};
      std::push_heap(heap.begin(), heap.end(), ahead);
    }
  }
  std::sort_heap(heap.begin(), heap.end(), ahead);
  std::vector<std::size_t> ids;
  for (const Entry& entry : heap) ids.push_back(entry.second);
  return ids;
}

void make_largest_exact(EmbeddingTable& table, ConstMatrix hidden, Matrix logits) {
  assert(hidden.rows == logits.rows);
  std::vector<std::vector<std::size_t>> ids(logits.rows);
#pragma omp parallel for schedule(static) if (logits.rows > 1)
  for (std::size_t r = 0; r < logits.rows; ++r) ids[r] = largest_logits(logits.row(r), kExactLogits);
  for (std::size_t r = 0; r < logits.rows; ++r) {
    table.prepare(ids[r]);
    std::vector<float> values(hidden.cols);
    for (const std::size_t id : ids[r]) {
      table.read(id, 0, values);
      logits.at(r, id) = product_of(hidden.row(r), values);
    }
  }
}

}  // namespace reelfolio::engine::text
