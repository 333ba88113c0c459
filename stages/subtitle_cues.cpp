#include "stages/subtitle_cues.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <utility>

#include "stages/text_width.h"
#include "stages/utf8.h"

namespace reelfolio::stages {
namespace {

constexpr std::size_t kLineColumns = 42;
constexpr double kLongestS = 7;
constexpr double kShortestS = 5.0 / 6;
constexpr double kReadColumnsPerS = 17;
constexpr double kCueGapS = 1.0 / 12;
// Of a cue that reading speed makes short, so that words are not shown one by one.
constexpr std::size_t kLeastCueColumns = 20;

enum class Break { word, comma, sentence };

struct Word {
  std::string text;
  std::size_t columns = 0;
  bool glued = false;  ///< continues the word before: no space between
  Break after = Break::word;
};

bool ends_with_any(std::string_view text, std::initializer_list<std::string_view> ends) {
  return std::any_of(ends.begin(), ends.end(), [&](std::string_view end) { return text.ends_with(end); });
}

Break break_after(std::string_view word) {
  while (ends_with_any(word, {"\"", "'", ")", "]"})) word.remove_suffix(1);
  for (const std::string_view quote : {"”", "’", "»", "」"}) {
    if (word.ends_with(quote)) word.remove_suffix(quote.size());
  }
  if (ends_with_any(word, {".", "!", "?", "…", "。", "！", "？", "।", "؟"})) return Break::sentence;
  if (ends_with_any(word, {",", ";", ":", "—", "–", "，", "、", "；", "：", "،"})) return Break::comma;
  return Break::word;
}

void add_word(const std::string& text, std::vector<Word>& words) {
  // Scripts without spaces make words longer than a line; those are cut between characters.
  std::string part;
  std::size_t columns = 0;
  bool glued = false;
  const auto add = [&] {
    words.push_back({part, columns, glued, break_after(part)});
    part.clear();
    columns = 0;
    glued = true;
  };
  const bool long_word = display_width(text) > kLineColumns / 2;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t begin = i;
    const std::size_t width = character_width(next_character(text, i));
    const std::string_view character = std::string_view(text).substr(begin, i - begin);
    if (columns + width > kLineColumns && width > 0) add();
    part += character;
    columns += width;
    // Wide characters stand for syllables or words: a line may end after any of them, but not before
    // punctuation.
    if (long_word && width == 2) {
      std::size_t next = i;
      const bool closes = i < text.size() && break_after(text.substr(i, [&] {
                                               next_character(text, next);
                                               return next - i;
                                             }())) != Break::word;
      if (!closes && i < text.size()) add();
    }
  }
  if (!part.empty()) add();
}

std::vector<Word> words_of(std::string_view text) {
  std::vector<Word> words;
  std::string word;
  const std::string valid = replace_invalid_utf8(text);
  for (const char c : valid) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > 0x20 && byte != 0x7F) {
      word += c;
      continue;
    }
    if (!word.empty()) add_word(word, words);
    word.clear();
  }
  if (!word.empty()) add_word(word, words);
  return words;
}

std::size_t columns_of(std::span<const Word> words) {
  std::size_t columns = 0;
  for (std::size_t i = 0; i < words.size(); ++i) {
    columns += words[i].columns + (i > 0 && !words[i].glued ? 1 : 0);
  }
  return columns;
}

std::string joined(std::span<const Word> words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i > 0 && !words[i].glued) text += ' ';
    text += words[i].text;
  }
  return text;
}

/// Where the second line begins; 0: one line is enough. None: more than two lines are needed.
std::optional<std::size_t> second_line(std::span<const Word> words) {
  if (columns_of(words) <= kLineColumns) return 0;
  std::optional<std::size_t> best;
  double best_cost = 0;
  for (std::size_t at = 1; at < words.size(); ++at) {
    const std::size_t upper = columns_of(words.first(at));
    const std::size_t lower = columns_of(words.subspan(at));
    if (upper > kLineColumns || lower > kLineColumns) continue;
    const double difference = static_cast<double>(lower) - static_cast<double>(upper);
    double cost = std::abs(difference) + (difference < 0 ? 0.5 : 0);
    if (words[at - 1].after == Break::comma) cost -= 8;
    if (words[at - 1].after == Break::sentence) cost -= 12;
    if (!best || cost < best_cost) {
      best = at;
      best_cost = cost;
    }
  }
  return best;
}

/// How many of `words` the next cue takes, of `target` columns if that can be and `most` at most.
std::size_t next_cue(std::span<const Word> words, double target, std::size_t most) {
  std::size_t best = 1;
  double best_cost = 0;
  bool found = false;
  for (std::size_t count = 1; count <= words.size(); ++count) {
    const std::span<const Word> cue = words.first(count);
    const std::size_t columns = columns_of(cue);
    if (count > 1 && (columns > most || !second_line(cue))) break;
    double cost = std::abs(static_cast<double>(columns) - target);
    if (words[count - 1].after == Break::comma) cost -= 10;
    if (words[count - 1].after == Break::sentence || count == words.size()) cost -= 20;
    if (!found || cost <= best_cost) {
      best = count;
      best_cost = cost;
      found = true;
    }
  }
  return best;
}

void add_cues(const Speech& speech, std::vector<Cue>& cues) {
  const std::vector<Word> all = words_of(speech.text);
  const std::size_t total = columns_of(all);
  const double length_s = speech.end_s - speech.start_s;
  if (total == 0 || !(length_s > 0)) return;
  const double columns_per_s = static_cast<double>(total) / length_s;
  const auto most = static_cast<std::size_t>(
      std::clamp(columns_per_s * kLongestS, static_cast<double>(kLeastCueColumns), 2.0 * kLineColumns));
  std::span<const Word> rest(all);
  std::size_t before = 0;  // columns of the cues that are there
  while (!rest.empty()) {
    const std::size_t left = columns_of(rest);
    const double cues_left = std::ceil(static_cast<double>(left) / static_cast<double>(most));
    const std::size_t count = next_cue(rest, static_cast<double>(left) / cues_left, most);
    const std::span<const Word> words = rest.first(count);
    Cue cue;
    cue.start_s = speech.start_s + length_s * static_cast<double>(before) / static_cast<double>(total);
    rest = rest.subspan(count);
    before = rest.empty() ? total : total - columns_of(rest);
    cue.end_s = speech.start_s + length_s * static_cast<double>(before) / static_cast<double>(total);
    const std::size_t lower = second_line(words).value_or(0);
    if (lower > 0) cue.lines.push_back(joined(words.first(lower)));
    cue.lines.push_back(joined(words.subspan(lower)));
    cues.push_back(std::move(cue));
  }
}

/// Reading time, pauses, and no overlap; see the header.
void settle_times(std::vector<Cue>& cues) {
  for (std::size_t i = 0; i < cues.size(); ++i) {
    Cue& cue = cues[i];
    if (i > 0) cue.start_s = std::max(cue.start_s, cues[i - 1].end_s);
    std::size_t columns = 0;
    for (const std::string& line : cue.lines) columns += display_width(line);
    const double wanted_s =
        std::clamp(static_cast<double>(columns) / kReadColumnsPerS, kShortestS, kLongestS);
    cue.end_s = std::clamp(cue.end_s, cue.start_s + wanted_s, cue.start_s + kLongestS);
    if (i + 1 == cues.size()) continue;
    const double next_s = std::max(cues[i + 1].start_s, cue.start_s + 0.001);
    if (cue.end_s > next_s - kCueGapS) {
      // A cue too short for a pause after it keeps half its time.
      cue.end_s = std::max(next_s - kCueGapS, cue.start_s + (next_s - cue.start_s) / 2);
    }
  }
}

std::string time_text(std::int64_t ms, char decimal_mark) {
  char text[40];
  std::snprintf(text, sizeof text, "%02lld:%02lld:%02lld%c%03lld", static_cast<long long>(ms / 3'600'000),
                static_cast<long long>(ms / 60'000 % 60), static_cast<long long>(ms / 1000 % 60),
                decimal_mark, static_cast<long long>(ms % 1000));
  return text;
}

std::string line_text(std::string_view line, SubtitleFormat format) {
  std::string text;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line.substr(i, 3) == "-->") {
      text += "→";
      i += 2;
    } else if (format == SubtitleFormat::vtt && line[i] == '&') {
      text += "&amp;";
    } else if (format == SubtitleFormat::vtt && line[i] == '<') {
      text += "&lt;";
    } else if (format == SubtitleFormat::vtt && line[i] == '>') {
      text += "&gt;";
    } else {
      text += line[i];
    }
  }
  return text;
}

}  // namespace

std::string_view subtitle_format_name(SubtitleFormat format) {
  return format == SubtitleFormat::srt ? "srt" : "vtt";
}

std::optional<SubtitleFormat> find_subtitle_format(std::string_view name) {
  for (const SubtitleFormat format : {SubtitleFormat::srt, SubtitleFormat::vtt}) {
    if (name == subtitle_format_name(format)) return format;
  }
  return std::nullopt;
}

std::vector<Cue> subtitle_cues(std::span<const Speech> speech) {
  std::vector<Cue> cues;
  for (const Speech& part : speech) add_cues(part, cues);
  settle_times(cues);
  return cues;
}

std::string subtitle_text(std::span<const Cue> cues, SubtitleFormat format) {
  std::string text = format == SubtitleFormat::vtt ? "WEBVTT\n" : "";
  const char mark = format == SubtitleFormat::vtt ? '.' : ',';
  std::int64_t last_ms = 0;
  int number = 0;
  for (const Cue& cue : cues) {
    // Rounding must not make two cues overlap.
    const std::int64_t start_ms = std::max<std::int64_t>(std::llround(cue.start_s * 1000), last_ms);
    const std::int64_t end_ms = std::max<std::int64_t>(std::llround(cue.end_s * 1000), start_ms + 1);
    last_ms = end_ms;
    ++number;
    if (format == SubtitleFormat::vtt || number > 1) text += '\n';
    if (format == SubtitleFormat::srt) text += std::to_string(number) + "\n";
    text += time_text(start_ms, mark) + " --> " + time_text(end_ms, mark) + "\n";
    for (const std::string& line : cue.lines) text += line_text(line, format) + "\n";
  }
  return text;
}

}  // namespace reelfolio::stages
