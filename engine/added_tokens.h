#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/token_id.h"

namespace reelfolio::engine {

struct AddedToken {
  std::string content;
  TokenId id = 0;
  bool special = false;
};

/// Finds added tokens in raw text. Immutable; any thread.
class AddedTokens {
 public:
  AddedTokens() : AddedTokens(std::vector<AddedToken>{}) {}
  /// Contents are not empty and differ.
  explicit AddedTokens(std::vector<AddedToken> tokens);

  /// The longest token at `text[at]`; a special one only where it ends at or before
  /// `special_end`. nullptr: none.
  const AddedToken* longest_at(std::string_view text, std::size_t at, std::size_t special_end) const;

  /// Whether a token may start with this byte: skips most positions at once.
  bool may_start(char first) const { return starts_[static_cast<unsigned char>(first)].begin != kNowhere; }

  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  static constexpr std::uint32_t kNowhere = ~std::uint32_t{0};
  struct Range {
    std::uint32_t begin = kNowhere;
    std::uint32_t end = kNowhere;
  };
  std::vector<AddedToken> tokens_;  // by content, bytewise
  std::array<Range, 256> starts_;   // tokens by first byte
};

}  // namespace reelfolio::engine
