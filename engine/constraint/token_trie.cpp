#include "engine/constraint/token_trie.h"

#include <algorithm>
#include <bit>
#include <map>
#include <utility>

#include "engine/tokenizer.h"

namespace reelfolio::engine::constraint {

std::size_t TokenMask::count() const {
  std::size_t total = 0;
  for (const std::uint64_t word : words) total += static_cast<std::size_t>(std::popcount(word));
  return total;
}

TokenTrie::TokenTrie(const Tokenizer& tokenizer) : vocab_size_(tokenizer.vocab_size()) {
  struct Entry {
    std::string_view text;
    bool is_byte;
    TokenId id;
  };
  std::vector<Entry> entries;
  entries.reserve(vocab_size_);
  for (std::size_t i = 0; i < vocab_size_; ++i) {
    const auto id = static_cast<TokenId>(i);
    const std::string_view text = tokenizer.token_bytes(id);
    if (text.empty() || tokenizer.is_special(id)) continue;
    entries.push_back({text, tokenizer.is_byte(id), id});
    longest_bytes_ = std::max(longest_bytes_, text.size());
    const auto begins = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
    longest_ = std::max(longest_, static_cast<std::size_t>(std::count_if(text.begin(), text.end(), begins)));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.text != b.text ? a.text < b.text : a.is_byte != b.is_byte ? b.is_byte : a.id < b.id;
  });

  std::vector<Node> open = {0};  // from the root to the last node
  bytes_.push_back(0);
  ends_.push_back(0);
  first_ids_.push_back(0);
  std::string_view before;
  for (const Entry& entry : entries) {
    if (entry.text == before) {
      if (!entry.is_byte) ids_.push_back(entry.id);
      continue;
    }
    std::size_t shared = 0;
    while (shared < before.size() && shared < entry.text.size() && before[shared] == entry.text[shared])
      ++shared;
    while (open.size() > shared + 1) {
      ends_[open.back()] = static_cast<Node>(bytes_.size());
      open.pop_back();
    }
    for (std::size_t i = shared; i < entry.text.size(); ++i) {
      open.push_back(static_cast<Node>(bytes_.size()));
      bytes_.push_back(static_cast<unsigned char>(entry.text[i]));
      ends_.push_back(0);
      first_ids_.push_back(static_cast<std::uint32_t>(ids_.size()));
    }
    ids_.push_back(entry.id);
    before = entry.text;
  }
  for (const Node node : open) ends_[node] = static_cast<Node>(bytes_.size());
  first_ids_.push_back(static_cast<std::uint32_t>(ids_.size()));
  // It stays as long as the engine does, of the release's vocabulary up to twice as large as needed.
  bytes_.shrink_to_fit();
  ends_.shrink_to_fit();
  first_ids_.shrink_to_fit();
  ids_.shrink_to_fit();
  number_tails();
}

void TokenTrie::number_tails() {
  // Equal bytes and equal places of ends and tokens, relative to the node, make equal subtrees.
  std::map<std::vector<std::uint32_t>, std::uint32_t> numbers;
  tails_.assign(size(), kNone);
  std::vector<std::uint32_t> shape;
  for (Node node = 1; node < size(); ++node) {
    if (bytes_[node] != '"') continue;
    shape.clear();
    for (Node at = node; at < ends_[node]; ++at) {
      shape.push_back(bytes_[at]);
      shape.push_back(ends_[at] - node);
      shape.push_back(static_cast<std::uint32_t>(tokens(at).size()));
    }
    tails_[node] = numbers.try_emplace(shape, static_cast<std::uint32_t>(numbers.size())).first->second;
  }
  num_tails_ = numbers.size();
}

TokenTrie::Node TokenTrie::find(std::string_view text) const {
  Node node = 0;
  for (const char c : text) {
    Node child = node + 1;
    while (child < ends_[node] && bytes_[child] != static_cast<unsigned char>(c)) child = ends_[child];
    if (child >= ends_[node]) return kNone;
    node = child;
  }
  return node;
}

}  // namespace reelfolio::engine::constraint
