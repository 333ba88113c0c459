#include "engine/constraint/token_masks.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "engine/constraint/regex.h"

namespace reelfolio::engine::constraint {

namespace {

using Kind = Frame::Kind;
using TrieNode = TokenTrie::Node;

/// A mask over 262,144 tokens takes 32 KiB. When so many are known all are dropped: positions
/// come back soon, or never.
constexpr std::size_t kMaxKnown = 256;
constexpr std::size_t kMaxKnownStrings = 256;

void set_all(TokenMask& mask, std::span<const TokenId> ids) {
  for (const TokenId id : ids) mask.set(id);
}

std::uint64_t hash_of(const Position& position) {
  std::uint64_t hash = static_cast<std::uint64_t>(position.spacing);
  for (const Reading& top : position.readings) hash = (hash ^ (top ? top->hash : 0)) * 0x9E3779B97F4A7C15ULL;
  return hash;
}

bool same_position(const Position& a, const Position& b) {
  return a.spacing == b.spacing &&
         std::equal(a.readings.begin(), a.readings.end(), b.readings.begin(), b.readings.end(), same);
}

}  // namespace

StringMasks::StringMasks(std::shared_ptr<const TokenTrie> trie) : trie_(std::move(trie)) {
  StringShape any;
  any.content = any_text();
  any.free = true;
  any.finish();
  // Texts, and the keys of additional properties.
  for (const Escapes escapes : {Escapes::all, Escapes::needed}) {
    const TableKey start{static_cast<std::uint8_t>(escapes), StringPlace::plain, any.content.start(), 0};
    tables_.emplace(start, make_table(any, start));
  }
}

StringPlace StringMasks::representative(const StringShape& shape, StringPlace place) const {
  // Beyond what a token can fill, lengths make no difference.
  std::size_t reach = trie_->longest() + 1;
  if (!shape.free) reach += shape.most_rest_chars;
  const std::size_t chars = place.chars;
  if (chars < shape.min_chars) {
    if (shape.min_chars - chars > reach)
      place.chars = static_cast<std::uint32_t>(shape.min_chars - reach - 1);
  } else if (shape.max_chars - chars > reach) {
    place.chars = static_cast<std::uint32_t>(shape.min_chars);
  }
  return place;
}

std::shared_ptr<const StringMasks::Entry> StringMasks::find(const Grammar& grammar, std::uint32_t index,
                                                            const StringPlace& given) {
  const StringShape& shape = grammar.strings[index];
  const StringPlace place = representative(shape, given);
  if (!shape.free) {
    auto entry = std::make_shared<Entry>();
    entry->inside = TokenMask(trie_->vocab_size());
    walk(shape, 0, place, *entry);
    std::stable_sort(entry->closing.begin(), entry->closing.end(),
                     [&](TrieNode a, TrieNode b) { return trie_->tail(a) < trie_->tail(b); });
    return entry;
  }
  const std::size_t reach = trie_->longest() + 1;
  const std::size_t missing = shape.min_chars > place.chars ? shape.min_chars - place.chars : 0;
  const std::size_t left = shape.max_chars - place.chars;
  const TableKey place_key{static_cast<std::uint8_t>(shape.escapes), place.mode, place.state, place.escape};
  const FreeKey key =
      std::tuple_cat(place_key, std::tuple(std::min(missing, reach + 1), std::min(left, reach + 1)));
  const std::lock_guard lock(mutex_);
  const auto found = free_.find(key);
  if (found != free_.end()) return found->second;
  auto table = tables_.find(place_key);
  if (table == tables_.end()) {
    if (tables_.size() >= kMaxKnownStrings) tables_.clear();
    table = tables_.emplace(place_key, make_table(shape, place_key)).first;
  }
  auto entry = std::make_shared<Entry>();
  entry->inside = table->second->inside;
  for (const FreeTable::Need& need : table->second->needs) {
    if (need.chars <= left) break;
    entry->inside.clear(need.id);
  }
  for (const FreeTable::Closing& closing : table->second->closing) {
    if (closing.chars >= missing && closing.chars <= left) entry->closing.push_back(closing.node);
  }
  if (free_.size() >= kMaxKnownStrings) free_.clear();
  return free_[key] = std::move(entry);
}

std::shared_ptr<const StringMasks::FreeTable> StringMasks::make_table(StringShape shape,
                                                                      const TableKey& key) const {
  shape.min_chars = 0;
  shape.max_chars = std::numeric_limits<std::uint32_t>::max();
  shape.escapes = static_cast<Escapes>(std::get<0>(key));
  StringPlace place;
  place.mode = std::get<1>(key);
  place.state = std::get<2>(key);
  place.escape = std::get<3>(key);
  auto table = std::make_shared<FreeTable>();
  table->inside = TokenMask(trie_->vocab_size());
  walk_free(shape, 0, place, *table);
  std::stable_sort(table->needs.begin(), table->needs.end(),
                   [](const auto& a, const auto& b) { return a.chars > b.chars; });
  std::stable_sort(table->closing.begin(), table->closing.end(),
                   [&](const auto& a, const auto& b) { return trie_->tail(a.node) < trie_->tail(b.node); });
  return table;
}

void StringMasks::walk_free(const StringShape& shape, TrieNode node, const StringPlace& place,
                            FreeTable& table) const {
  for (TrieNode child = node + 1; child < trie_->end(node); child = trie_->end(child)) {
    const unsigned char byte = trie_->byte(child);
    if (byte == '"' && place.mode == StringPlace::plain) {
      if (may_close(shape, place)) table.closing.push_back({child, place.chars});
      continue;
    }
    StringPlace next = place;
    if (!read_string_byte(shape, next, byte)) continue;
    // An escape that has begun takes room for its character.
    const std::uint32_t chars = next.chars + (next.mode != StringPlace::plain ? 1 : 0);
    for (const TokenId id : trie_->tokens(child)) {
      table.inside.set(id);
      table.needs.push_back({id, chars});
    }
    if (trie_->end(child) > child + 1) walk_free(shape, child, next, table);
  }
}

void StringMasks::walk(const StringShape& shape, TrieNode node, const StringPlace& place,
                       Entry& entry) const {
  for (TrieNode child = node + 1; child < trie_->end(node); child = trie_->end(child)) {
    const unsigned char byte = trie_->byte(child);
    if (byte == '"' && place.mode == StringPlace::plain) {
      if (may_close(shape, place)) entry.closing.push_back(child);
      continue;
    }
    StringPlace next = place;
    if (!read_string_byte(shape, next, byte)) continue;
    set_all(entry.inside, trie_->tokens(child));
    if (trie_->end(child) > child + 1) walk(shape, child, next, entry);
  }
}

TokenMasks::TokenMasks(std::shared_ptr<const Automaton> automaton, std::shared_ptr<StringMasks> strings)
    : automaton_(std::move(automaton)), strings_(std::move(strings)) {}

Position TokenMasks::representative(const Position& position) const {
  Position result = position;
  for (Reading& top : result.readings) {
    if (!top || top->frame.kind != Kind::string) continue;
    const StringPlace place =
        strings_->representative(automaton_->grammar().strings[top->frame.shape], top->frame.place);
    if (!(place == top->frame.place)) top = automaton_->moved(top, place);
  }
  return result;
}

std::shared_ptr<const TokenMask> TokenMasks::mask(const Position& position) {
  const std::lock_guard lock(mutex_);
  const Position place = representative(position);
  const std::uint64_t hash = hash_of(place);
  const auto [first, last] = known_.equal_range(hash);
  for (auto at = first; at != last; ++at) {
    if (same_position(at->second.position, place)) return at->second.mask;
  }
  auto mask = std::make_shared<TokenMask>(trie().vocab_size());
  Position others{{}, place.spacing};
  for (const Reading& top : place.readings) {
    if (top && top->frame.kind == Kind::string) {
      from_string(top, place.spacing, *mask);
    } else {
      others.readings.push_back(top);
    }
  }
  walk(0, others, *mask);
  if (known_.size() >= kMaxKnown) known_.clear();
  known_.emplace(hash, Known{place, mask});
  return mask;
}

void TokenMasks::take(TrieNode node, TokenMask& mask) {
  set_all(mask, trie().tokens(node));
  if (taken_ != nullptr) taken_->push_back(node);
}

void TokenMasks::walk(TrieNode node, const Position& position, TokenMask& mask) {
  if (position.dead()) return;
  for (TrieNode child = node + 1; child < trie().end(node); child = trie().end(child)) {
    Position next = automaton_->next(position, trie().byte(child));
    if (next.dead()) continue;
    take(child, mask);
    if (trie().end(child) == child + 1) continue;
    std::erase_if(next.readings, [&](const Reading& top) {
      if (!top) return true;
      if (top->frame.kind != Kind::string || top->frame.names) return false;
      walk_string(child, top, top->frame.place, next.spacing, mask);
      return true;
    });
    walk(child, next, mask);
  }
}

void TokenMasks::walk_string(TrieNode node, const Reading& top, const StringPlace& place, Spacing spacing,
                             TokenMask& mask) {
  const StringShape& shape = automaton_->grammar().strings[top->frame.shape];
  for (TrieNode child = node + 1; child < trie().end(node); child = trie().end(child)) {
    const unsigned char byte = trie().byte(child);
    if (byte == '"' && place.mode == StringPlace::plain) {
      if (!may_close(shape, place)) continue;
      take(child, mask);
      walk(child, {{top->below}, spacing}, mask);
      continue;
    }
    StringPlace next = place;
    if (!read_string_byte(shape, next, byte)) continue;
    take(child, mask);
    walk_string(child, top, next, spacing, mask);
  }
}

std::shared_ptr<const StringMasks::Entry> TokenMasks::string_entry(const Reading& top) {
  const Frame& frame = top->frame;
  const Grammar& grammar = automaton_->grammar();
  if (grammar.strings[frame.shape].free) return strings_->find(grammar, frame.shape, frame.place);
  const std::tuple key{frame.shape, frame.place.mode, frame.place.state, frame.place.chars,
                       frame.place.escape};
  const auto found = patterns_.find(key);
  if (found != patterns_.end()) return found->second;
  if (patterns_.size() >= kMaxKnownStrings) patterns_.clear();
  return patterns_[key] = strings_->find(grammar, frame.shape, frame.place);
}

void TokenMasks::from_string(const Reading& top, Spacing spacing, TokenMask& mask) {
  const StringShape& shape = automaton_->grammar().strings[top->frame.shape];
  // How an additional key may go on depends on those before it.
  if (top->frame.names && !shape.free) return walk(0, {{top}, spacing}, mask);
  const std::shared_ptr<const StringMasks::Entry> entry = string_entry(top);
  for (std::size_t i = 0; i < mask.words.size(); ++i) mask.words[i] |= entry->inside.words[i];
  Reading closed = top->below;
  if (top->frame.names && !automaton_->close_new_key(top, closed))
    return from_key(top, *entry, spacing, mask);
  // Behind the quotation mark all closing tokens with the same tail go the same ways.
  std::uint32_t tail = TokenTrie::kNone;
  std::vector<TrieNode> ways;
  TrieNode first = 0;
  for (const TrieNode node : entry->closing) {
    if (trie().tail(node) == tail) {
      for (const TrieNode way : ways) set_all(mask, trie().tokens(node + (way - first)));
      continue;
    }
    tail = trie().tail(node);
    first = node;
    ways.clear();
    taken_ = &ways;
    take(node, mask);
    walk(node, {{closed}, spacing}, mask);
    taken_ = nullptr;
  }
}

/// The key may be one that the object has: each closing token is looked at with its text.
void TokenMasks::from_key(const Reading& top, const StringMasks::Entry& entry, Spacing spacing,
                          TokenMask& mask) {
  for (const TrieNode node : entry.closing) {
    std::string text;
    for (TrieNode at = 0; at != node;) {
      TrieNode child = at + 1;
      while (trie().end(child) <= node) child = trie().end(child);
      text += static_cast<char>(trie().byte(child));
      at = child;
    }
    const Position position = automaton_->next(Position{{top}, spacing}, text);
    if (position.dead()) continue;
    take(node, mask);
    walk(node, position, mask);
  }
}

}  // namespace reelfolio::engine::constraint
