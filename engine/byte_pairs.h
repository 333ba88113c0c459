#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "engine/token_id.h"

namespace reelfolio::engine {

/// Byte-pair merging of token ids (Sennrich et al. 2016): the adjacent pair with the
/// lowest rank is replaced by its result, leftmost first among equals, until no pair
/// of neighbours is in the list. Immutable; any thread.
class BytePairs {
 public:
  struct Merge {
    TokenId left = 0;
    TokenId right = 0;
    TokenId result = 0;
  };
  /// A merge's rank is its index; of two with the same pair the later one counts. One with
  /// a negative id on the left is left out.
  explicit BytePairs(std::span<const Merge> merges);

  /// Working memory, kept by the caller from call to call.
  struct Scratch {
    struct Node {
      TokenId id;
      std::uint32_t previous;
      std::uint32_t next;
      std::uint32_t rank;  // of the pair (this, next)
    };
    std::vector<std::uint32_t> ranks;
    std::vector<Node> nodes;
    std::vector<std::uint64_t> heap;
  };

  /// Merges `ids` in place as far as possible; returns how many are left, at the front.
  /// n log n time. ids.size() < 2^32 - 1.
  std::size_t merge(std::span<TokenId> ids, Scratch& scratch) const;

 private:
  static constexpr std::uint32_t kNoRank = std::numeric_limits<std::uint32_t>::max();
  struct Slot {
    TokenId left = -1;
    TokenId right = -1;
    std::uint32_t rank = kNoRank;
    TokenId result = -1;
  };
  const Slot& find(TokenId left, TokenId right) const;
  std::size_t slot_of(TokenId left, TokenId right) const;
  std::size_t merge_short(std::span<TokenId> ids, Scratch& scratch) const;
  std::size_t merge_long(std::span<TokenId> ids, Scratch& scratch) const;

  std::vector<Slot> slots_;  // open addressing, at most half full; the size is a power of two
};

}  // namespace reelfolio::engine
