#include "engine/byte_pairs.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <functional>

namespace reelfolio::engine {
namespace {

// Below this a scan for the lowest rank is faster than a heap (tests/bench/tokenizer_bench).
constexpr std::size_t kShort = 48;

constexpr std::uint32_t kNoNode = std::numeric_limits<std::uint32_t>::max();

}  // namespace

BytePairs::BytePairs(std::span<const Merge> merges) : slots_(std::bit_ceil(2 * merges.size() + 2)) {
  assert(merges.size() < kNoRank);
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const Merge& merge = merges[rank];
    if (merge.left < 0) continue;
    slots_[slot_of(merge.left, merge.right)] = {merge.left, merge.right, static_cast<std::uint32_t>(rank),
                                                merge.result};
  }
}

std::size_t BytePairs::slot_of(TokenId left, TokenId right) const {
  const std::size_t mask = slots_.size() - 1;
  const std::uint64_t key = (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) |
                            static_cast<std::uint32_t>(right);
  // Multiplicative hashing: the upper half depends on every bit of the key.
  std::size_t slot = ((key ^ (key >> 32)) * 0x9E3779B97F4A7C15U >> 32) & mask;
  while (slots_[slot].left >= 0 && (slots_[slot].left != left || slots_[slot].right != right)) {
    slot = (slot + 1) & mask;
  }
  return slot;
}

const BytePairs::Slot& BytePairs::find(TokenId left, TokenId right) const {
  return slots_[slot_of(left, right)];
}

std::size_t BytePairs::merge(std::span<TokenId> ids, Scratch& scratch) const {
  if (ids.size() < 2) return ids.size();
  return ids.size() <= kShort ? merge_short(ids, scratch) : merge_long(ids, scratch);
}

std::size_t BytePairs::merge_short(std::span<TokenId> ids, Scratch& scratch) const {
  std::size_t count = ids.size();
  auto& ranks = scratch.ranks;  // ranks[i]: of the pair (i, i + 1)
  ranks.resize(count - 1);
  for (std::size_t i = 0; i + 1 < count; ++i) ranks[i] = find(ids[i], ids[i + 1]).rank;
  while (count > 1) {
    const auto last = ranks.begin() + static_cast<std::ptrdiff_t>(count - 1);
    const auto lowest = std::min_element(ranks.begin(), last);
    if (*lowest == kNoRank) break;
    const auto at = static_cast<std::size_t>(lowest - ranks.begin());
    ids[at] = find(ids[at], ids[at + 1]).result;
    std::copy(ids.begin() + static_cast<std::ptrdiff_t>(at) + 2,
              ids.begin() + static_cast<std::ptrdiff_t>(count),
              ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
    std::copy(lowest + 1, last, lowest);
    --count;
    if (at > 0) ranks[at - 1] = find(ids[at - 1], ids[at]).rank;
    if (at + 1 < count) ranks[at] = find(ids[at], ids[at + 1]).rank;
  }
  return count;
}

std::size_t BytePairs::merge_long(std::span<TokenId> ids, Scratch& scratch) const {
  assert(ids.size() < kNoNode);
  const auto count = static_cast<std::uint32_t>(ids.size());
  auto& nodes = scratch.nodes;
  // A heap entry is rank << 32 | node. It is stale where the node's pair has another rank
  // by now; a node that was merged into its left neighbour has none.
  auto& heap = scratch.heap;
  const auto by_rank = std::greater<std::uint64_t>();
  nodes.resize(count);
  heap.clear();
  const auto set_rank = [&](std::uint32_t at) {
    auto& node = nodes[at];
    node.rank = node.next == kNoNode ? kNoRank : find(node.id, nodes[node.next].id).rank;
    return node.rank != kNoRank;
  };
  for (std::uint32_t i = 0; i < count; ++i) {
    nodes[i] = {ids[i], i == 0 ? kNoNode : i - 1, i + 1 == count ? kNoNode : i + 1, kNoRank};
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    if (set_rank(i)) heap.push_back((static_cast<std::uint64_t>(nodes[i].rank) << 32) | i);
  }
  std::make_heap(heap.begin(), heap.end(), by_rank);

  const auto push = [&](std::uint32_t at) {
    if (!set_rank(at)) return;
    heap.push_back((static_cast<std::uint64_t>(nodes[at].rank) << 32) | at);
    std::push_heap(heap.begin(), heap.end(), by_rank);
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), by_rank);
    const auto rank = static_cast<std::uint32_t>(heap.back() >> 32);
    const auto at = static_cast<std::uint32_t>(heap.back());
    heap.pop_back();
    auto& node = nodes[at];
    if (node.rank != rank) continue;
    auto& right = nodes[node.next];
    node.id = find(node.id, right.id).result;
    node.next = right.next;
    right.rank = kNoRank;
    if (node.next != kNoNode) nodes[node.next].previous = at;
    push(at);
    if (node.previous != kNoNode) push(node.previous);
  }

  std::size_t left = 0;
  for (std::uint32_t at = 0; at != kNoNode; at = nodes[at].next) ids[left++] = nodes[at].id;
  return left;
}

}  // namespace reelfolio::engine
