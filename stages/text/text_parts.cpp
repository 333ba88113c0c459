#include "stages/text/text_parts.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "stages/utf8.h"

namespace reelfolio::stages {

namespace {

/// How good it is to cut in front of a piece.
enum Strength : int { inside_word = 0, word, sentence, line_end, paragraph, heading_6 };

Strength heading_strength(int level) {
  return static_cast<Strength>(heading_6 + (6 - level));
}

/// A line, or a part of one that is too long.
struct Piece {
  std::string_view text;
  const TextLine* line = nullptr;
  int strength = line_end;
  bool begins_line = true;
  std::size_t tokens = 0;
};

bool ends_sentence(std::string_view text) {
  while (!text.empty() && (text.back() == '"' || text.back() == '\'' || text.back() == ')')) {
    text.remove_suffix(1);
  }
  return text.ends_with('.') || text.ends_with('!') || text.ends_with('?');
}

/// Bytes of the front of `text` that end with a sentence, else with a word, else with a
/// character; at most `max_bytes`, at least one character.
std::pair<std::size_t, Strength> front(std::string_view text, std::size_t max_bytes) {
  std::size_t word_end = 0;
  std::size_t sentence_end = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t bytes = engine::read_utf8(text.substr(at)).bytes;
    if (at > 0 && at + bytes > max_bytes) break;
    at += bytes;
    if (at < text.size() && text[at - 1] == ' ' && text[at] != ' ') {
      word_end = at;
      if (ends_sentence(text.substr(0, at - 1))) sentence_end = at;
    }
    // Full stops of Chinese and Japanese need no space behind them.
    for (const std::string_view stop : {"\u3002", "\uFF01", "\uFF1F"}) {
      if (text.substr(0, at).ends_with(stop)) sentence_end = at;
    }
  }
  if (sentence_end > 0) return {sentence_end, sentence};
  if (word_end > 0) return {word_end, word};
  return {at, inside_word};
}

class Divider {
 public:
  Divider(const TextLines& lines, std::size_t max_tokens,
          const std::function<std::size_t(std::string_view)>& count)
      : max_tokens_(max_tokens), count_(count) {
    bool after_empty = false;
    for (const TextLine& line : lines) {
      int strength = after_empty && !line.code ? paragraph : line_end;
      if (line.heading > 0) strength = heading_strength(line.heading);
      add_line(line, strength);
      after_empty = line.text.empty();
    }
  }

  void run(const std::function<bool(TextPart)>& use) {
    std::size_t first = 0;
    while (true) {
      while (first < pieces_.size() && pieces_[first].text.empty()) ++first;
      if (first == pieces_.size()) return;
      const std::size_t end = part_end(first);
      if (!use(made(first, end))) return;
      first = end;
    }
  }

 private:
  void add_line(const TextLine& line, int strength) {
    std::string_view rest = line.text;
    // A text has no more tokens than bytes, so that these pieces fit.
    while (rest.size() > max_tokens_) {
      const auto [bytes, next] = front(rest, max_tokens_);
      pieces_.push_back({rest.substr(0, bytes), &line, strength, rest.size() == line.text.size()});
      rest.remove_prefix(bytes);
      strength = next;
    }
    if (!rest.empty() || line.text.empty()) {
      pieces_.push_back({rest, &line, strength, rest.size() == line.text.size()});
    }
  }

  std::size_t tokens_of(Piece& piece) {
    if (piece.tokens == 0) piece.tokens = std::max<std::size_t>(1, count_(std::string(piece.text) + "\n"));
    return piece.tokens;
  }

  /// Behind the last piece of the part that begins with `first`.
  std::size_t part_end(std::size_t first) {
    // Pieces are counted by themselves, which is about what they come to together; where it is
    // less, a smaller budget is tried.
    for (std::size_t budget = max_tokens_;; budget -= std::max<std::size_t>(1, budget / 16)) {
      const std::size_t end = best_cut(first, budget);
      if (end == first + 1 || count_(made(first, end).text) <= max_tokens_) return end;
    }
  }

  std::size_t best_cut(std::size_t first, std::size_t budget) {
    std::size_t tokens = 0;
    std::size_t best = first + 1;
    int strength = -1;
    for (std::size_t i = first; i < pieces_.size(); ++i) {
      tokens += tokens_of(pieces_[i]);
      if (tokens > budget) return best;
      const std::size_t next = i + 1;
      if (next == pieces_.size()) return next;
      // Before the budget is half used up any cut is only better than none.
      const int value = tokens * 2 >= budget ? pieces_[next].strength : -1;
      if (value >= strength) {
        strength = value;
        best = next;
      }
    }
    return best;
  }

  TextPart made(std::size_t first, std::size_t end) const {
    while (end > first + 1 && pieces_[end - 1].text.empty()) --end;
    TextPart part;
    part.first_line = pieces_[first].line->line;
    part.last_line = pieces_[end - 1].line->line;
    for (std::size_t i = first; i < end; ++i) {
      const Piece& piece = pieces_[i];
      if (i > first && piece.begins_line) part.text += '\n';
      part.text += piece.text;
      if (!part.start_s) part.start_s = piece.line->start_s;
      if (piece.line->end_s) part.end_s = std::max(part.end_s.value_or(0), *piece.line->end_s);
    }
    return part;
  }

  std::size_t max_tokens_;
  const std::function<std::size_t(std::string_view)>& count_;
  std::vector<Piece> pieces_;
};

}  // namespace

void divide_text(const TextLines& lines, std::size_t max_tokens,
                 const std::function<std::size_t(std::string_view)>& count,
                 const std::function<bool(TextPart)>& use) {
  Divider(lines, max_tokens, count).run(use);
}

}  // namespace reelfolio::stages
