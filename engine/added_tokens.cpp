#include "engine/added_tokens.h"

#include <algorithm>
#include <utility>

namespace reelfolio::engine {

// std::string compares as unsigned bytes, so tokens with a common prefix are neighbours
// and the shortest of them comes first.
AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::sort(tokens_.begin(), tokens_.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.content < b.content; });
  for (std::uint32_t i = 0; i < tokens_.size(); ++i) {
    Range& range = starts_[static_cast<unsigned char>(tokens_[i].content.front())];
    if (range.begin == kNowhere) range.begin = i;
    range.end = i + 1;
  }
}

const AddedToken* AddedTokens::longest_at(std::string_view text, std::size_t at,
                                          std::size_t special_end) const {
  Range range = starts_[static_cast<unsigned char>(text[at])];
  if (range.begin == kNowhere) return nullptr;
  const AddedToken* longest = nullptr;
  for (std::size_t depth = 1;; ++depth) {
    const AddedToken& first = tokens_[range.begin];
    if (first.content.size() == depth) {
      if (!first.special || at + depth <= special_end) longest = &first;
      ++range.begin;
    }
    if (range.begin == range.end || at + depth == text.size()) return longest;
    const auto next = static_cast<unsigned char>(text[at + depth]);
    const auto byte_at = [&](const AddedToken& token) {
      return static_cast<unsigned char>(token.content[depth]);
    };
    const auto begin = tokens_.begin() + range.begin;
    const auto end = tokens_.begin() + range.end;
    const auto low =
        std::partition_point(begin, end, [&](const AddedToken& token) { return byte_at(token) < next; });
    const auto high =
        std::partition_point(low, end, [&](const AddedToken& token) { return byte_at(token) == next; });
    if (low == high) return longest;
    range = {static_cast<std::uint32_t>(low - tokens_.begin()),
             static_cast<std::uint32_t>(high - tokens_.begin())};
  }
}

}  // namespace reelfolio::engine
