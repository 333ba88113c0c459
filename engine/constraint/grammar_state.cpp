#include "engine/constraint/grammar_state.h"

#include <algorithm>
#include <array>
#include <utility>

namespace reelfolio::engine::constraint {

namespace {

/// Merges reach over few tokens; with so many in front, forced text splits as in the whole.
constexpr std::size_t kContextTokens = 4;
/// In one go: rows of a pass are limited.
constexpr std::size_t kMaxForcedBytes = 256;

}  // namespace

GrammarState::GrammarState(std::shared_ptr<const Constraint> constraint, std::shared_ptr<TokenMasks> masks,
                           const Tokenizer& tokenizer)
    : constraint_(std::move(constraint)),
      masks_(std::move(masks)),
      tokenizer_(&tokenizer),
      position_(automaton().start()) {}

bool GrammarState::accept(TokenId id) {
  const std::string_view text = tokenizer_->token_bytes(id);
  if (text.empty() || tokenizer_->is_special(id)) return false;
  Position next = automaton().next(position_, text);
  if (next.dead()) return false;
  position_ = std::move(next);
  recent_.push_back(id);
  if (recent_.size() > kContextTokens + 1) recent_.erase(recent_.begin());
  fresh_ = true;
  return true;
}

std::string GrammarState::text_of(std::span<const TokenId> ids) const {
  std::string text;
  for (const TokenId id : ids) text += tokenizer_->token_bytes(id);
  return text;
}

std::vector<TokenId> GrammarState::tokens_of(const std::string& text) const {
  std::vector<TokenId> ids = tokenizer_->encode(text);
  if (text_of(ids) == text) return ids;
  // U+2581 stands for a space in pieces; as itself it is spelled in bytes.
  ids.clear();
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const std::array<char, 6> piece = {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
    ids.push_back(tokenizer_->require_id(std::string_view(piece.data(), piece.size())));
  }
  return ids;
}

bool GrammarState::can_grow(std::string_view text, const Position& behind) const {
  const TokenTrie& trie = masks_->trie();
  const TokenTrie::Node node = trie.find(text);
  if (node == TokenTrie::kNone) return false;
  for (TokenTrie::Node child = node + 1; child < trie.end(node); child = trie.end(child)) {
    if (!automaton().next(behind, trie.byte(child)).dead()) return true;
  }
  return false;
}

std::size_t GrammarState::first_open(std::string_view forced, const Position& end) const {
  if (automaton().must_end(end)) return forced.size();
  const std::size_t longest = masks_->trie().longest_bytes();
  std::size_t at = forced.size() - std::min(forced.size(), longest);
  while (at < forced.size() && !can_grow(forced.substr(at), end)) ++at;
  return at;
}

std::vector<TokenId> GrammarState::jump(std::size_t left) {
  std::vector<TokenId> last;
  if (std::exchange(fresh_, false)) last.push_back(recent_.back());
  std::string forced;
  Position end = position_;
  while (forced.size() < kMaxForcedBytes) {
    const auto byte = automaton().only_byte(end);
    if (!byte) break;
    forced += static_cast<char>(*byte);
    end = automaton().next(end, *byte);
  }
  if (forced.empty()) return last;

  const std::string last_text = text_of(last);
  std::vector<TokenId> ids = tokenizer_->encode(last_text + forced);
  // With what stands in front, where that splits as it was written.
  const std::vector<TokenId> context(recent_.begin(),
                                     recent_.end() - static_cast<std::ptrdiff_t>(last.size()));
  const std::vector<TokenId> whole = tokenizer_->encode(text_of(context) + last_text + forced);
  if (whole.size() > context.size() && std::equal(context.begin(), context.end(), whole.begin())) {
    ids.assign(whole.begin() + static_cast<std::ptrdiff_t>(context.size()), whole.end());
  }
  if (text_of(ids) != last_text + forced) return last;

  // The text may split in another way from the token on in which one begins that reaches further.
  std::size_t bytes = last_text.size() + forced.size();
  for (const std::size_t open = last_text.size() + first_open(forced, end); bytes > open; ids.pop_back()) {
    bytes -= tokenizer_->token_bytes(ids.back()).size();
  }
  // What the model chose is not taken back.
  if (bytes <= last_text.size()) return last;
  const std::size_t more = ids.size() - std::min(ids.size(), last.size());
  if (more > left) return last;
  Position position = automaton().next(position_, forced.substr(0, bytes - last_text.size()));
  if (!can_complete(position, left - more)) return last;
  position_ = std::move(position);
  if (!last.empty()) recent_.pop_back();
  recent_.insert(recent_.end(), ids.begin(), ids.end());
  if (recent_.size() > kContextTokens + 1) {
    recent_.erase(recent_.begin(), recent_.end() - static_cast<std::ptrdiff_t>(kContextTokens + 1));
  }
  return ids;
}

std::vector<TokenId> GrammarState::completion() const {
  return tokens_of(automaton().complete(position_));
}

bool GrammarState::can_complete(const Position& position, std::size_t tokens) const {
  // Every byte has a token of its own, and no token has more than so many.
  const std::size_t bytes = automaton().rest_bytes(position);
  if (bytes <= tokens) return true;
  if (bytes > tokens * masks_->trie().longest_bytes()) return false;
  return tokens_of(automaton().complete(position)).size() <= tokens;
}

bool GrammarState::can_complete(std::size_t tokens) const {
  return can_complete(position_, tokens);
}

bool GrammarState::can_complete(TokenId id, std::size_t tokens) const {
  return can_complete(automaton().next(position_, tokenizer_->token_bytes(id)), tokens);
}

}  // namespace reelfolio::engine::constraint
