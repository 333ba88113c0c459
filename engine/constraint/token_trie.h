#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/token_id.h"

namespace reelfolio::engine {
class Tokenizer;
}

namespace reelfolio::engine::constraint {

/// Token ids as bits: id i is bit i % 64 of word i / 64.
struct TokenMask {
  std::vector<std::uint64_t> words;

  explicit TokenMask(std::size_t vocab_size = 0) : words((vocab_size + 63) / 64, 0) {}
  void set(TokenId id) {
    words[static_cast<std::size_t>(id) / 64] |= std::uint64_t{1} << (static_cast<std::size_t>(id) % 64);
  }
  void clear(TokenId id) {
    words[static_cast<std::size_t>(id) / 64] &= ~(std::uint64_t{1} << (static_cast<std::size_t>(id) % 64));
  }
  bool test(TokenId id) const {
    return (words[static_cast<std::size_t>(id) / 64] >> (static_cast<std::size_t>(id) % 64) & 1) != 0;
  }
  std::size_t count() const;
};

/// The bytes of a vocabulary's tokens as a tree. Special tokens are left out, and byte tokens
/// whose byte another token spells too. Nodes are numbered in preorder, the root 0, and children
/// by ascending bytes. Immutable; any thread.
class TokenTrie {
 public:
  using Node = std::uint32_t;
  static constexpr Node kNone = static_cast<Node>(-1);

  explicit TokenTrie(const Tokenizer& tokenizer);

  std::size_t vocab_size() const { return vocab_size_; }
  std::size_t size() const { return bytes_.size(); }
  unsigned char byte(Node node) const { return bytes_[node]; }
  /// One behind the last node below `node`. Children: node + 1, end of that, ... up to here.
  Node end(Node node) const { return ends_[node]; }
  std::span<const TokenId> tokens(Node node) const {
    return std::span(ids_).subspan(first_ids_[node], first_ids_[node + 1] - first_ids_[node]);
  }
  /// Where `text` leads from the root; kNone where no token begins with it.
  Node find(std::string_view text) const;
  /// Nodes behind a quotation mark whose subtrees look alike have the same number, from 0;
  /// any other node has kNone.
  std::uint32_t tail(Node node) const { return tails_[node]; }
  std::size_t num_tails() const { return num_tails_; }
  /// Characters, and bytes, of the longest token.
  std::size_t longest() const { return longest_; }
  std::size_t longest_bytes() const { return longest_bytes_; }

 private:
  void number_tails();

  std::size_t vocab_size_ = 0;
  std::size_t longest_ = 0;
  std::size_t longest_bytes_ = 0;
  std::size_t num_tails_ = 0;
  std::vector<unsigned char> bytes_;
  std::vector<Node> ends_;
  std::vector<std::uint32_t> first_ids_;
  std::vector<TokenId> ids_;
  std::vector<std::uint32_t> tails_;
};

}  // namespace reelfolio::engine::constraint
