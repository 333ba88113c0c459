#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "engine/constraint/automaton.h"
#include "engine/constraint/token_trie.h"

namespace reelfolio::engine::constraint {

/// What tokens do inside strings, whatever stands around these: shared by all masks over a
/// vocabulary. Any thread.
class StringMasks {
 public:
  /// Looks at every token once, so that no answer has to wait for it.
  explicit StringMasks(std::shared_ptr<const TokenTrie> trie);

  /// Tokens that stay inside the string, and the nodes behind a quotation mark that may close
  /// it, by ascending tail.
  struct Entry {
    TokenMask inside;
    std::vector<TokenTrie::Node> closing;
  };
  std::shared_ptr<const Entry> find(const Grammar& grammar, std::uint32_t shape, const StringPlace& place);

  const TokenTrie& trie() const { return *trie_; }
  std::shared_ptr<const TokenTrie> shared_trie() const { return trie_; }

  /// The place among those with the same tokens that stands for all of them.
  StringPlace representative(const StringShape& shape, StringPlace place) const;

 private:
  void walk(const StringShape& shape, TokenTrie::Node node, const StringPlace& place, Entry& entry) const;

  /// What tokens do at a place in strings without a pattern that may have any length, and how many
  /// characters they need.
  struct FreeTable {
    struct Need {
      TokenId id;
      std::uint32_t chars;
    };
    struct Closing {
      TokenTrie::Node node;
      std::uint32_t chars;
    };
    TokenMask inside;
    std::vector<Need> needs;       ///< of the tokens inside, the greatest first
    std::vector<Closing> closing;  ///< by ascending tail
  };
  using TableKey = std::tuple<std::uint8_t, std::uint8_t, Dfa::State, std::uint32_t>;
  void walk_free(const StringShape& shape, TokenTrie::Node node, const StringPlace& place,
                 FreeTable& table) const;
  std::shared_ptr<const FreeTable> make_table(StringShape shape, const TableKey& key) const;

  /// Strings without a pattern are alike if so much of their lengths is left.
  using FreeKey = std::tuple<std::uint8_t, std::uint8_t, Dfa::State, std::uint32_t, std::size_t, std::size_t>;

  std::shared_ptr<const TokenTrie> trie_;
  std::mutex mutex_;
  std::map<FreeKey, std::shared_ptr<const Entry>> free_;
  std::map<TableKey, std::shared_ptr<const FreeTable>> tables_;
};

/// The masks of one constraint over one vocabulary, remembered by position. Any thread.
class TokenMasks {
 public:
  TokenMasks(std::shared_ptr<const Automaton> automaton, std::shared_ptr<StringMasks> strings);

  /// The tokens that can follow. Equal positions have equal masks, whatever was asked before.
  std::shared_ptr<const TokenMask> mask(const Position& position);

  const Automaton& automaton() const { return *automaton_; }
  const TokenTrie& trie() const { return strings_->trie(); }

 private:
  void take(TokenTrie::Node node, TokenMask& mask);
  void walk(TokenTrie::Node node, const Position& position, TokenMask& mask);
  void walk_string(TokenTrie::Node node, const Reading& top, const StringPlace& place, Spacing spacing,
                   TokenMask& mask);
  void from_string(const Reading& top, Spacing spacing, TokenMask& mask);
  void from_key(const Reading& top, const StringMasks::Entry& entry, Spacing spacing, TokenMask& mask);
  Position representative(const Position& position) const;
  std::shared_ptr<const StringMasks::Entry> string_entry(const Reading& top);

  struct Known {
    Position position;
    std::shared_ptr<const TokenMask> mask;
  };
  std::shared_ptr<const Automaton> automaton_;
  std::shared_ptr<StringMasks> strings_;
  std::mutex mutex_;
  std::vector<TokenTrie::Node>* taken_ = nullptr;  ///< where take() notes nodes, if anywhere
  std::unordered_multimap<std::uint64_t, Known> known_;
  std::map<std::tuple<std::uint32_t, std::uint8_t, Dfa::State, std::uint32_t, std::uint32_t>,
           std::shared_ptr<const StringMasks::Entry>>
      patterns_;
};

}  // namespace reelfolio::engine::constraint
