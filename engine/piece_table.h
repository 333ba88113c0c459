#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/token_id.h"

namespace reelfolio::engine {

/// A vocabulary: id -> piece and piece -> id. Owns the texts in one block. Filled by
/// one thread; afterwards every const member may be called from any.
class PieceTable {
 public:
  static constexpr TokenId kNone = -1;

  /// Makes room for `count` pieces; no more may be inserted.
  explicit PieceTable(std::size_t count);

  enum class Insertion { done, id_taken, text_taken };
  /// `text` must not be empty.
  Insertion insert(std::string_view text, TokenId id);

  TokenId find(std::string_view text) const;
  /// Empty where no piece has this id; any id may be asked.
  std::string_view piece(TokenId id) const {
    if (id < 0 || static_cast<std::size_t>(id) >= spans_.size()) return {};
    const Span& span = spans_[static_cast<std::size_t>(id)];
    return std::string_view(texts_).substr(span.begin, span.size);
  }
  /// One more than the largest id.
  std::size_t id_count() const { return spans_.size(); }

 private:
  struct Slot {
    std::uint32_t hash = 0;
    TokenId id = kNone;
  };
  struct Span {
    std::size_t begin = 0;
    std::size_t size = 0;
  };
  std::size_t slot_of(std::string_view text, std::size_t hash) const;

  std::vector<Slot> slots_;  // open addressing, at most half full; the size is a power of two
  std::vector<Span> spans_;
  std::string texts_;
};

}  // namespace reelfolio::engine
