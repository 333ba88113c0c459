#include "engine/constraint/dfa.h"

#include <algorithm>
#include <map>
#include <queue>
#include <utility>

namespace reelfolio::engine::constraint {

namespace {

/// Refining takes as many rounds as the longest distinguishing text; above this, states that
/// could be merged cost less than finding them.
constexpr std::size_t kMostMinimised = 4096;

std::size_t class_count(const ByteClasses& classes) {
  return std::size_t{*std::max_element(classes.begin(), classes.end())} + 1;
}

}  // namespace

ByteClasses refine(const ByteClasses& a, const ByteClasses& b) {
  std::map<std::pair<std::uint8_t, std::uint8_t>, std::uint8_t> known;
  ByteClasses classes{};
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const auto number = static_cast<std::uint8_t>(known.size());
    classes[byte] = known.try_emplace({a[byte], b[byte]}, number).first->second;
  }
  return classes;
}

ByteClasses classes_of_cuts(const std::array<bool, 257>& cuts) {
  ByteClasses classes{};
  std::uint8_t number = 0;
  for (std::size_t byte = 1; byte < 256; ++byte) {
    if (cuts[byte]) ++number;
    classes[byte] = number;
  }
  return classes;
}

std::optional<Dfa> Dfa::explore(const Key& start, const ByteClasses& classes, const Step& step,
                                const std::function<bool(const Key&)>& accepts, std::size_t most_states) {
  Dfa dfa;
  dfa.classes_ = classes;
  dfa.num_classes_ = class_count(classes);
  std::vector<unsigned char> members(dfa.num_classes_);
  for (std::size_t byte = 256; byte-- > 0;) members[classes[byte]] = static_cast<unsigned char>(byte);

  std::map<Key, State> numbers;
  std::vector<const Key*> keys;
  const auto number_of = [&](Key key) {
    const auto [entry, is_new] = numbers.try_emplace(std::move(key), static_cast<State>(keys.size()));
    if (is_new) keys.push_back(&entry->first);
    return entry->second;
  };
  number_of(start);
  for (std::size_t at = 0; at < keys.size(); ++at) {
    if (keys.size() > most_states) return std::nullopt;
    dfa.accepting_.push_back(accepts(*keys[at]));
    for (const unsigned char byte : members) {
      std::optional<Key> next = step(*keys[at], byte);
      dfa.table_.push_back(next ? number_of(std::move(*next)) : kDead);
    }
  }
  dfa.finish();
  return dfa;
}

Dfa Dfa::texts(std::vector<std::string> texts) {
  std::sort(texts.begin(), texts.end());
  texts.erase(std::unique(texts.begin(), texts.end()), texts.end());
  std::array<bool, 257> cuts{};
  std::size_t total = 1;
  for (const std::string& text : texts) {
    total += text.size();
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      cuts[byte] = cuts[std::size_t{byte} + 1] = true;
    }
  }
  if (texts.empty()) return {};
  // A state is the range of texts that begin with what was read, and how much that is.
  const auto step = [&](const Key& key, unsigned char byte) -> std::optional<Key> {
    const std::size_t depth = key[2];
    const auto matches = [&](std::size_t i) {
      return texts[i].size() > depth && static_cast<unsigned char>(texts[i][depth]) == byte;
    };
    std::uint32_t first = key[0];
    while (first < key[1] && !matches(first)) ++first;
    std::uint32_t last = first;
    while (last < key[1] && matches(last)) ++last;
    if (first == last) return std::nullopt;
    return Key{first, last, key[2] + 1};
  };
  const auto accepts = [&](const Key& key) { return texts[key[0]].size() == key[2]; };
  return *explore({0, static_cast<std::uint32_t>(texts.size()), 0}, classes_of_cuts(cuts), step, accepts,
                  total);
}

std::optional<Dfa> Dfa::join(const Dfa& a, const Dfa& b, Join join, std::size_t most_states) {
  const bool with_both = join == Join::both;
  const auto make = [&](State x, State y) -> std::optional<Key> {
    if (x == kDead && (join != Join::either || y == kDead)) return std::nullopt;
    if (y == kDead && with_both) return std::nullopt;
    return Key{x, y};
  };
  const std::optional<Key> start = make(a.start(), b.start());
  if (!start) return Dfa{};
  const auto next = [](const Dfa& dfa, State state, unsigned char byte) {
    return state == kDead ? kDead : dfa.next(state, byte);
  };
  const auto accepts = [](const Dfa& dfa, State state) { return state != kDead && dfa.accepts(state); };
  return explore(
      *start, refine(a.classes_, b.classes_),
      [&](const Key& key, unsigned char byte) { return make(next(a, key[0], byte), next(b, key[1], byte)); },
      [&](const Key& key) {
        const bool in_a = accepts(a, key[0]);
        const bool in_b = accepts(b, key[1]);
        return with_both ? in_a && in_b : join == Join::either ? in_a || in_b : in_a && !in_b;
      },
      most_states);
}

void Dfa::finish() {
  trim();
  if (size() <= kMostMinimised) minimise();
}

/// Drops states that lead nowhere; fills rest_ and final_.
void Dfa::trim() {
  const std::size_t count = size();
  std::vector<std::vector<State>> before(count);
  for (std::size_t state = 0; state < count; ++state) {
    for (std::size_t c = 0; c < num_classes_; ++c) {
      const State next = table_[state * num_classes_ + c];
      if (next != kDead && (before[next].empty() || before[next].back() != state)) {
        before[next].push_back(static_cast<State>(state));
      }
    }
  }
  std::vector<std::uint32_t> rest(count, kDead);
  std::vector<State> queue;
  for (std::size_t state = 0; state < count; ++state) {
    if (!accepting_[state]) continue;
    rest[state] = 0;
    queue.push_back(static_cast<State>(state));
  }
  for (std::size_t at = 0; at < queue.size(); ++at) {
    for (const State state : before[queue[at]]) {
      if (rest[state] != kDead) continue;
      rest[state] = rest[queue[at]] + 1;
      queue.push_back(state);
    }
  }
  if (count == 0 || rest[0] == kDead) {
    *this = Dfa();
    return;
  }
  std::vector<State> renamed(count, kDead);
  State kept = 0;
  for (std::size_t state = 0; state < count; ++state) {
    if (rest[state] != kDead) renamed[state] = kept++;
  }
  for (std::size_t state = 0; state < count; ++state) {
    if (renamed[state] == kDead) continue;
    const std::size_t to = renamed[state];
    bool leads_on = false;
    for (std::size_t c = 0; c < num_classes_; ++c) {
      const State next = table_[state * num_classes_ + c];
      const State live = next == kDead ? kDead : renamed[next];
      table_[to * num_classes_ + c] = live;
      leads_on = leads_on || live != kDead;
    }
    accepting_[to] = accepting_[state];
    rest_.push_back(rest[state]);
    final_.push_back(!leads_on);
  }
  accepting_.resize(kept);
  table_.resize(kept * num_classes_);
}

/// Moore's partition refinement; the start stays state 0.
void Dfa::minimise() {
  const std::size_t count = size();
  std::vector<State> group(count);
  for (std::size_t state = 0; state < count; ++state) group[state] = accepting_[state] ? 1 : 0;
  std::size_t groups = 0;
  while (true) {
    std::map<std::vector<State>, State> numbers;
    std::vector<State> refined(count);
    std::vector<State> signature(num_classes_ + 1);
    for (std::size_t state = 0; state < count; ++state) {
      signature[0] = group[state];
      for (std::size_t c = 0; c < num_classes_; ++c) {
        const State next = table_[state * num_classes_ + c];
        signature[c + 1] = next == kDead ? kDead : group[next];
      }
      refined[state] = numbers.try_emplace(signature, static_cast<State>(numbers.size())).first->second;
    }
    group = std::move(refined);
    if (numbers.size() == groups) break;
    groups = numbers.size();
  }
  if (groups == count) return;
  Dfa small;
  small.classes_ = classes_;
  small.num_classes_ = num_classes_;
  for (std::size_t state = 0; state < count; ++state) {
    // Groups are numbered by their first state.
    if (group[state] != small.size()) continue;
    for (std::size_t c = 0; c < num_classes_; ++c) {
      const State next = table_[state * num_classes_ + c];
      small.table_.push_back(next == kDead ? kDead : group[next]);
    }
    small.accepting_.push_back(accepting_[state]);
    small.final_.push_back(final_[state]);
    small.rest_.push_back(rest_[state]);
  }
  *this = std::move(small);
}

std::string Dfa::shortest_rest(State state) const {
  std::string text;
  while (rest_[state] > 0) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const State after = next(state, static_cast<unsigned char>(byte));
      if (after == kDead || rest_[after] + 1 != rest_[state]) continue;
      text += static_cast<char>(byte);
      state = after;
      break;
    }
  }
  return text;
}

bool Dfa::admits(std::string_view text) const {
  State state = start();
  for (const char c : text) {
    if (state == kDead) return false;
    state = next(state, static_cast<unsigned char>(c));
  }
  return state != kDead && accepts(state);
}

std::vector<std::uint32_t> Dfa::word_counts() const {
  // States that lie on no cycle and lead to none, each behind those that it leads to.
  std::vector<std::uint32_t> left(size(), 0);
  std::vector<std::vector<State>> before(size());
  for (std::size_t state = 0; state < size(); ++state) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const State after = next(static_cast<State>(state), static_cast<unsigned char>(byte));
      if (after == kDead) continue;
      ++left[state];
      before[after].push_back(static_cast<State>(state));
    }
  }
  std::vector<std::uint32_t> counts(size(), kDead);
  std::vector<State> done;
  const auto finish_state = [&](State state) {
    std::uint64_t count = accepts(state) ? 1 : 0;
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const State after = next(state, static_cast<unsigned char>(byte));
      if (after != kDead) count += counts[after];
    }
    counts[state] = static_cast<std::uint32_t>(std::min<std::uint64_t>(count, kDead));
    done.push_back(state);
  };
  for (std::size_t state = 0; state < size(); ++state) {
    if (left[state] == 0) finish_state(static_cast<State>(state));
  }
  for (std::size_t at = 0; at < done.size(); ++at) {
    for (const State state : before[done[at]]) {
      if (--left[state] == 0) finish_state(state);
    }
  }
  return counts;
}

bool Dfa::infinite() const {
  // Every state is live, so a cycle anywhere makes it so: look for one by taking away
  // states without predecessors.
  std::vector<std::uint32_t> before(size(), 0);
  for (const State next : table_) {
    if (next != kDead) ++before[next];
  }
  std::vector<State> free;
  for (std::size_t state = 0; state < size(); ++state) {
    if (before[state] == 0) free.push_back(static_cast<State>(state));
  }
  for (std::size_t at = 0; at < free.size(); ++at) {
    for (std::size_t c = 0; c < num_classes_; ++c) {
      const State next = table_[free[at] * num_classes_ + c];
      if (next != kDead && --before[next] == 0) free.push_back(next);
    }
  }
  return free.size() < size();
}

std::vector<std::string> Dfa::words(State first, std::size_t most) const {
  // Best first by the length of the shortest word that begins so.
  struct Beginning {
    std::size_t length;
    bool is_word;  // itself, not what goes on from it
    std::string text;
    State state;
  };
  const auto later = [](const Beginning& a, const Beginning& b) {
    return a.length != b.length ? a.length > b.length : a.is_word != b.is_word ? b.is_word : a.text > b.text;
  };
  std::vector<std::string> found;
  std::priority_queue<Beginning, std::vector<Beginning>, decltype(later)> queue(later);
  queue.push({rest_bytes(first), false, "", first});
  while (!queue.empty() && found.size() < most) {
    const Beginning at = queue.top();
    queue.pop();
    if (at.is_word) {
      found.push_back(at.text);
      continue;
    }
    if (accepts(at.state)) queue.push({at.text.size(), true, at.text, at.state});
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const State after = next(at.state, static_cast<unsigned char>(byte));
      if (after == kDead) continue;
      queue.push({at.text.size() + 1 + rest_bytes(after), false, at.text + static_cast<char>(byte), after});
    }
  }
  return found;
}

}  // namespace reelfolio::engine::constraint
