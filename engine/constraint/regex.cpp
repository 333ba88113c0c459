#include "engine/constraint/regex.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "engine/constraint/code_points.h"
#include "engine/utf8.h"

namespace reelfolio::engine::constraint {

namespace {

constexpr int kMaxDepth = 100;
constexpr std::size_t kMaxRepeat = 1000;
constexpr std::size_t kMaxNfaStates = 60000;
constexpr std::size_t kMaxPatternStates = 20000;

using Set = std::vector<CodePoints>;

struct Expression {
  enum class Kind { set, sequence, choice, repeat, begin, end };
  Kind kind = Kind::sequence;
  Set set;
  std::vector<Expression> parts;
  std::size_t least = 0;
  std::optional<std::size_t> most;  ///< of a repeat; absent: without end
};

Set digits() {
  return {{'0', '9'}};
}
Set word_characters() {
  return {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
}
/// WhiteSpace and LineTerminator of ECMA-262.
Set white_space() {
  return {{0x09, 0x0D},     {0x20, 0x20},     {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
          {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
}
Set line_ends() {
  return {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
}

class Parser {
 public:
  explicit Parser(std::string_view pattern) {
    while (!pattern.empty()) {
      const Utf8Step step = read_utf8(pattern);
      if (step.kind != Utf8Step::Kind::valid) throw PatternError("the pattern is not UTF-8");
      text_.push_back(step.code_point);
      pattern.remove_prefix(step.bytes);
    }
  }

  Expression parse() {
    Expression whole = choice(0);
    if (at_ < text_.size()) throw PatternError("')' without '('");
    return whole;
  }

 private:
  bool more() const { return at_ < text_.size(); }
  char32_t peek() const { return text_[at_]; }
  bool take(char32_t c) {
    if (!more() || peek() != c) return false;
    ++at_;
    return true;
  }

  Expression choice(int depth) {
    if (depth > kMaxDepth) throw PatternError("groups are nested too deeply");
    Expression result{Expression::Kind::choice, {}, {}, 0, {}};
    do {
      result.parts.push_back(sequence(depth));
    } while (take('|'));
    return result.parts.size() == 1 ? std::move(result.parts.front()) : std::move(result);
  }

  Expression sequence(int depth) {
    Expression result;
    while (more() && peek() != '|' && peek() != ')') result.parts.push_back(repeated(depth));
    return result;
  }

  Expression repeated(int depth) {
    Expression inner = atom(depth);
    const bool is_assertion = inner.kind == Expression::Kind::begin || inner.kind == Expression::Kind::end;
    std::size_t least = 0;
    std::optional<std::size_t> most;
    if (!more()) return inner;
    if (take('*')) {
    } else if (take('+')) {
      least = 1;
    } else if (take('?')) {
      most = 1;
    } else if (take('{')) {
      least = number();
      most = least;
      if (take(',')) {
        most.reset();
        if (more() && peek() != '}') most = number();
      }
      if (!take('}')) throw PatternError("'{' is not closed");
      if (most && *most < least)
        throw PatternError("'{" + std::to_string(least) + ",...}' ends below its beginning");
    } else {
      return inner;
    }
    if (is_assertion) throw PatternError("an assertion cannot be repeated");
    take('?');  // lazy: the same texts
    if (more() && (peek() == '*' || peek() == '+' || peek() == '?')) throw PatternError("nothing to repeat");
    Expression result{Expression::Kind::repeat, {}, {}, least, most};
    result.parts.push_back(std::move(inner));
    return result;
  }

  std::size_t number() {
    std::size_t value = 0;
    const std::size_t begin = at_;
    while (more() && peek() >= '0' && peek() <= '9') {
      value = 10 * value + (text_[at_++] - '0');
      if (value > kMaxRepeat)
        throw PatternError("repeats more than " + std::to_string(kMaxRepeat) + " times");
    }
    if (at_ == begin) throw PatternError("'{' without a number");
    return value;
  }

  static Expression of_set(Set set) { return {Expression::Kind::set, normalised(std::move(set)), {}, 0, {}}; }

  Expression atom(int depth) {
    const char32_t c = text_[at_++];
    switch (c) {
      case '(': {
        if (take('?')) {
          if (take('<')) {
            if (more() && (peek() == '=' || peek() == '!'))
              throw PatternError("look-behind is not supported");
            while (more() && peek() != '>') ++at_;
            if (!take('>')) throw PatternError("a group's name is not closed");
          } else if (!take(':')) {
            throw PatternError("look-ahead is not supported");
          }
        }
        Expression group = choice(depth + 1);
        if (!take(')')) throw PatternError("'(' is not closed");
        return group;
      }
      case '[':
        return of_set(character_class());
      case '.':
        return of_set(inverted(normalised(line_ends())));
      case '^':
        return {Expression::Kind::begin, {}, {}, 0, {}};
      case '$':
        return {Expression::Kind::end, {}, {}, 0, {}};
      case '\\':
        return of_set(escape(false));
      case '*':
      case '+':
      case '?':
      case '{':
        throw PatternError("nothing to repeat");
      default:
        return of_set({{c, c}});
    }
  }

  char32_t hex(std::size_t count) {
    char32_t value = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (!more()) throw PatternError("an escape is cut off");
      const char32_t c = text_[at_++];
      const int digit = c >= '0' && c <= '9'   ? static_cast<int>(c - '0')
                        : c >= 'a' && c <= 'f' ? static_cast<int>(c - 'a' + 10)
                        : c >= 'A' && c <= 'F' ? static_cast<int>(c - 'A' + 10)
                                               : -1;
      if (digit < 0) throw PatternError("an escape has no hexadecimal digit where one is due");
      value = 16 * value + static_cast<char32_t>(digit);
    }
    return value;
  }

  char32_t unicode_escape() {
    if (take('{')) {
      char32_t value = 0;
      bool any = false;
      while (more() && peek() != '}') {
        value = 16 * value + hex(1);
        any = true;
        if (value > kLastCodePoint) throw PatternError("an escape lies beyond U+10FFFF");
      }
      if (!any || !take('}')) throw PatternError("'\\u{' is not closed");
      return value;
    }
    const char32_t unit = hex(4);
    if (unit < 0xD800 || unit > 0xDBFF) return unit;
    if (at_ + 1 < text_.size() && peek() == '\\' && text_[at_ + 1] == 'u') {
      at_ += 2;
      const char32_t low = hex(4);
      if (low >= 0xDC00 && low <= 0xDFFF) return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
    }
    throw PatternError("half a surrogate pair is no character");
  }

  /// What follows a backslash.
  Set escape(bool in_class) {
    if (!more()) throw PatternError("ends in a backslash");
    const char32_t c = text_[at_++];
    const auto one = [](char32_t value) { return Set{{value, value}}; };
    switch (c) {
      case 'd':
        return digits();
      case 'D':
        return inverted(normalised(digits()));
      case 'w':
        return word_characters();
      case 'W':
        return inverted(normalised(word_characters()));
      case 's':
        return white_space();
      case 'S':
        return inverted(normalised(white_space()));
      case 't':
        return one('\t');
      case 'n':
        return one('\n');
      case 'r':
        return one('\r');
      case 'v':
        return one('\v');
      case 'f':
        return one('\f');
      case 'x':
        return one(hex(2));
      case 'u':
        return one(unicode_escape());
      case '0':
        if (more() && peek() >= '0' && peek() <= '9') throw PatternError("octal escapes are not supported");
        return one(0);
      case 'b':
        if (in_class) return one('\b');
        throw PatternError("'\\b' is not supported");
      default:
        break;
    }
    const bool is_word = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (c < 0x80 && is_word)
      throw PatternError("'\\" + std::string(1, static_cast<char>(c)) + "' is not supported");
    return one(c);
  }

  Set character_class() {
    const bool invert = take('^');
    Set set;
    while (true) {
      if (!more()) throw PatternError("'[' is not closed");
      if (take(']')) break;
      const Set low = class_atom();
      if (at_ + 1 < text_.size() && peek() == '-' && text_[at_ + 1] != ']') {
        ++at_;
        const Set high = class_atom();
        const auto single = [](const Set& each) { return each.size() == 1 && each[0].first == each[0].last; };
        if (!single(low) || !single(high) || low[0].first > high[0].first) {
          throw PatternError("a range in a class has no order");
        }
        set.push_back({low[0].first, high[0].first});
      } else {
        set.insert(set.end(), low.begin(), low.end());
      }
    }
    set = normalised(std::move(set));
    return invert ? inverted(set) : set;
  }

  Set class_atom() {
    const char32_t c = text_[at_++];
    if (c == '\\') return escape(true);
    return {{c, c}};
  }

  std::vector<char32_t> text_;
  std::size_t at_ = 0;
};

/// Thompson's construction with ranges of bytes.
class Nfa {
 public:
  using State = std::uint32_t;

  explicit Nfa(const Expression& expression) {
    // A match may begin behind any character and be followed by any.
    const State loop = add();
    start_ = add();
    joins(start_, loop);
    const Set all = {{0, kLastCodePoint}};
    connect(all, loop, loop);
    const State first = add();
    joins(loop, first);
    match_ = build(expression, first);
    connect(all, match_, match_);
    find_live();
  }

  Dfa determinise() const {
    std::array<bool, 257> cuts{};
    for (const Node& node : nodes_) {
      for (const Edge& edge : node.edges) {
        cuts[edge.range.first] = true;
        cuts[std::size_t{edge.range.last} + 1] = true;
      }
    }
    const auto key_of = [&](std::vector<State> states, bool at_begin) {
      Dfa::Key key = closure(std::move(states), at_begin, false);
      key.push_back(at_begin ? 1 : 0);
      return key;
    };
    const auto states_of = [](const Dfa::Key& key) { return std::vector<State>(key.begin(), key.end() - 1); };
    const auto step = [&](const Dfa::Key& key, unsigned char byte) -> std::optional<Dfa::Key> {
      std::vector<State> reached;
      for (const State state : states_of(key)) {
        for (const Edge& edge : nodes_[state].edges) {
          if (edge.range.first <= byte && byte <= edge.range.last) reached.push_back(edge.to);
        }
      }
      if (reached.empty()) return std::nullopt;
      return key_of(std::move(reached), false);
    };
    const auto accepts = [&](const Dfa::Key& key) {
      const std::vector<State> ended = closure(states_of(key), key.back() != 0, true);
      return std::binary_search(ended.begin(), ended.end(), match_);
    };
    std::optional<Dfa> dfa =
        Dfa::explore(key_of({start_}, true), classes_of_cuts(cuts), step, accepts, kMaxPatternStates);
    if (!dfa) throw PatternError("the pattern's automaton is too large");
    return std::move(*dfa);
  }

 private:
  struct Edge {
    ByteRange range;
    State to;
  };
  struct Node {
    std::vector<Edge> edges;
    std::vector<State> joined;            ///< reached without a byte
    std::vector<State> at_begin, at_end;  ///< reached without a byte at an end of the text
  };

  State add() {
    if (nodes_.size() >= kMaxNfaStates) throw PatternError("the pattern is too large");
    nodes_.emplace_back();
    return static_cast<State>(nodes_.size() - 1);
  }
  void joins(State from, State to) { nodes_[from].joined.push_back(to); }

  void connect(const Set& set, State from, State to) {
    std::vector<ByteSequence> sequences;
    for (const CodePoints& range : set) append_utf8(range, sequences);
    // Equal ends of sequences share their states.
    std::map<std::vector<unsigned char>, State> ends;
    for (const ByteSequence& sequence : sequences) {
      State next = to;
      std::vector<unsigned char> end;
      for (std::size_t i = sequence.size(); i-- > 1;) {
        end.push_back(sequence[i].first);
        end.push_back(sequence[i].last);
        const auto known = ends.find(end);
        if (known != ends.end()) {
          next = known->second;
          continue;
        }
        const State state = add();
        nodes_[state].edges.push_back({sequence[i], next});
        ends.emplace(end, state);
        next = state;
      }
      nodes_[from].edges.push_back({sequence.front(), next});
    }
  }

  /// Builds what leads from `from` through the expression; returns where it ends.
  State build(const Expression& expression, State from) {
    switch (expression.kind) {
      case Expression::Kind::set: {
        const State to = add();
        connect(expression.set, from, to);
        return to;
      }
      case Expression::Kind::sequence:
        for (const Expression& part : expression.parts) from = build(part, from);
        return from;
      case Expression::Kind::choice: {
        const State to = add();
        for (const Expression& part : expression.parts) {
          const State first = add();
          joins(from, first);
          joins(build(part, first), to);
        }
        return to;
      }
      case Expression::Kind::repeat: {
        for (std::size_t i = 0; i < expression.least; ++i) from = build(expression.parts[0], from);
        const State to = add();
        if (!expression.most) {
          const State loop = add();
          joins(from, loop);
          joins(build(expression.parts[0], loop), loop);
          joins(loop, to);
          return to;
        }
        joins(from, to);
        for (std::size_t i = expression.least; i < *expression.most; ++i) {
          const State first = add();
          joins(from, first);
          from = build(expression.parts[0], first);
          joins(from, to);
        }
        return to;
      }
      case Expression::Kind::begin:
      case Expression::Kind::end: {
        const State to = add();
        auto& assertions = nodes_[from];
        (expression.kind == Expression::Kind::begin ? assertions.at_begin : assertions.at_end).push_back(to);
        return to;
      }
    }
    return from;
  }

  /// Marks the states that lead to the match without an assertion of the text's beginning. Where
  /// none but that begins the pattern, looking for later matches is left out so.
  void find_live() {
    std::vector<std::vector<State>> before(nodes_.size());
    for (State state = 0; state < nodes_.size(); ++state) {
      const Node& node = nodes_[state];
      for (const Edge& edge : node.edges) before[edge.to].push_back(state);
      for (const State to : node.joined) before[to].push_back(state);
      for (const State to : node.at_end) before[to].push_back(state);
    }
    live_.assign(nodes_.size(), false);
    live_[match_] = true;
    std::vector<State> queue = {match_};
    for (std::size_t at = 0; at < queue.size(); ++at) {
      for (const State state : before[queue[at]]) {
        if (live_[state]) continue;
        live_[state] = true;
        queue.push_back(state);
      }
    }
  }

  /// Sorted states that are reached without a byte.
  std::vector<State> closure(std::vector<State> states, bool at_begin, bool at_end) const {
    std::vector<bool> seen(nodes_.size(), false);
    for (const State state : states) seen[state] = true;
    const auto follow = [&](const std::vector<State>& more) {
      for (const State state : more) {
        if (seen[state]) continue;
        seen[state] = true;
        states.push_back(state);
      }
    };
    for (std::size_t at = 0; at < states.size(); ++at) {
      const Node& node = nodes_[states[at]];
      follow(node.joined);
      if (at_begin) follow(node.at_begin);
      if (at_end) follow(node.at_end);
    }
    std::sort(states.begin(), states.end());
    states.erase(std::unique(states.begin(), states.end()), states.end());
    // States that only lead on without a byte say nothing.
    std::erase_if(states, [&](State state) {
      const Node& node = nodes_[state];
      if (!at_begin && !live_[state]) return true;
      return state != match_ && node.edges.empty() && node.at_end.empty() &&
             !(at_begin && !node.at_begin.empty());
    });
    return states;
  }

  std::vector<Node> nodes_;
  std::vector<bool> live_;
  State start_ = 0;
  State match_ = 0;
};

}  // namespace

Dfa compile_pattern(std::string_view pattern) {
  return Nfa(Parser(pattern).parse()).determinise();
}

const Dfa& any_text() {
  static const Dfa any = compile_pattern("");
  return any;
}

Dfa texts_of_length(std::size_t least, std::optional<std::size_t> most) {
  if (std::max(least, most.value_or(0)) > kMaxRepeat) {
    throw PatternError("a length of more than " + std::to_string(kMaxRepeat) + " characters");
  }
  Expression any{Expression::Kind::set, {{0, kLastCodePoint}}, {}, 0, {}};
  Expression begin{Expression::Kind::begin, {}, {}, 0, {}};
  Expression end{Expression::Kind::end, {}, {}, 0, {}};
  Expression repeat{Expression::Kind::repeat, {}, {std::move(any)}, least, most};
  Expression whole;
  whole.parts = {std::move(begin), std::move(repeat), std::move(end)};
  return Nfa(whole).determinise();
}

}  // namespace reelfolio::engine::constraint
