#include "stages/text/subtitles.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <utility>

#include "stages/text/plain_text.h"

namespace reelfolio::stages {

namespace {

/// A silence of this length ends a paragraph.
constexpr double kParagraphPauseS = 2;
constexpr std::size_t kDetectLines = 8;

bool is_ascii_digit(char c) {
  return c >= '0' && c <= '9';
}

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

/// A whole number of at most seven digits at the front of `text`, which is advanced.
std::optional<int> take_number(std::string_view& text) {
  int value = 0;
  std::size_t digits = 0;
  for (; digits < text.size() && is_ascii_digit(text[digits]); ++digits) {
    if (digits == 7) return std::nullopt;
    value = value * 10 + (text[digits] - '0');
  }
  if (digits == 0) return std::nullopt;
  text.remove_prefix(digits);
  return value;
}

/// "01:02:03.456", "02:03,456": seconds. `text` is advanced.
std::optional<double> take_time(std::string_view& text) {
  std::array<int, 3> parts{};
  std::size_t count = 0;
  while (true) {
    const auto number = take_number(text);
    if (!number || count == parts.size()) return std::nullopt;
    parts[count++] = *number;
    if (text.empty() || text.front() != ':') break;
    text.remove_prefix(1);
  }
  if (count < 2 || text.empty() || (text.front() != '.' && text.front() != ',')) return std::nullopt;
  text.remove_prefix(1);
  const std::size_t before = text.size();
  const auto fraction = take_number(text);
  if (!fraction) return std::nullopt;
  double seconds = *fraction * std::pow(10.0, -static_cast<double>(before - text.size()));
  double scale = 1;
  for (std::size_t i = count; i-- > 0; scale *= 60) seconds += parts[i] * scale;
  return seconds;
}

/// "00:01.000 --> 00:04.000 line:0" -> 1 and 4.
std::optional<std::pair<double, double>> timing(std::string_view line) {
  line = trimmed(line);
  const auto start = take_time(line);
  if (!start) return std::nullopt;
  line = trimmed(line);
  if (!line.starts_with("-->")) return std::nullopt;
  line = trimmed(line.substr(3));
  const auto end = take_time(line);
  if (!end) return std::nullopt;
  return std::pair(*start, std::max(*start, *end));
}

std::string decoded_entities(const std::string& text) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kEntities = {{{"&amp;", "&"},
                                                                                       {"&lt;", "<"},
                                                                                       {"&gt;", ">"},
                                                                                       {"&nbsp;", " "},
                                                                                       {"&lrm;", ""},
                                                                                       {"&rlm;", ""},
                                                                                       {"&quot;", "\""}}};
  std::string result;
  for (std::size_t i = 0; i < text.size();) {
    const auto* found = std::ranges::find_if(kEntities, [&](const auto& entity) {
      return text.compare(i, entity.first.size(), entity.first) == 0;
    });
    if (found != kEntities.end()) {
      result += found->second;
      i += found->first.size();
    } else {
      result += text[i++];
    }
  }
  return result;
}

/// Without <i>, </i>, <00:01.000>, {\an8}; "<v Ann>" becomes "Ann: ".
std::string without_markup(std::string_view text) {
  std::string result;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] == '{' && i + 1 < text.size() && text[i + 1] == '\\') {
      const std::size_t end = text.find('}', i);
      if (end != std::string_view::npos) {
        i = end + 1;
        continue;
      }
    }
    const bool opens = text[i] == '<' && i + 1 < text.size() &&
                       (std::isalnum(static_cast<unsigned char>(text[i + 1])) != 0 || text[i + 1] == '/');
    const std::size_t end = opens ? text.find('>', i) : std::string_view::npos;
    if (end == std::string_view::npos) {
      result += text[i++];
      continue;
    }
    const std::string_view tag = text.substr(i + 1, end - i - 1);
    const std::size_t space = tag.find(' ');
    if (space != std::string_view::npos && (tag.starts_with("v ") || tag.starts_with("v."))) {
      result += std::string(tag.substr(space + 1)) + ": ";
    }
    i = end + 1;
  }
  return decoded_entities(result);
}

std::string clock_text(double seconds) {
  const auto whole = static_cast<long long>(seconds);
  char text[40];
  std::snprintf(text, sizeof(text), "%lld:%02lld:%02lld", whole / 3600, whole / 60 % 60, whole % 60);
  return text;
}

bool is_webvtt(std::string_view text) {
  return text.starts_with("WEBVTT") && (text.size() == 6 || text.find_first_of(" \t\r\n", 6) == 6);
}

}  // namespace

bool is_subtitles(std::string_view text) {
  if (is_webvtt(text)) return true;
  // A number, then the times of the first cue.
  constexpr std::size_t kHeadBytes = 2000;
  std::size_t seen = 0;
  for (const TextLine& line : plain_lines(text.substr(0, kHeadBytes), false)) {
    const std::string_view content = trimmed(line.text);
    if (content.empty()) continue;
    if (timing(content)) return true;
    if (++seen == kDetectLines || !std::ranges::all_of(content, is_ascii_digit)) return false;
  }
  return false;
}

TextLines subtitle_lines(std::string_view text) {
  const bool webvtt = is_webvtt(text);
  const TextLines lines = plain_lines(text, false);
  TextLines cues;
  double last_end_s = 0;
  for (std::size_t i = 0; i < lines.size();) {
    const auto times = timing(lines[i].text);
    if (!times) {
      ++i;
      continue;
    }
    const int line = lines[i++].line;
    std::string said;
    for (; i < lines.size(); ++i) {
      const std::string_view content = trimmed(lines[i].text);
      if (timing(content)) break;
      if (content.empty()) {
        if (webvtt) break;
        continue;  // SubRip cues may hold empty lines
      }
      // The number of the next SubRip cue.
      if (!webvtt && i + 1 < lines.size() && std::ranges::all_of(content, is_ascii_digit) &&
          timing(lines[i + 1].text)) {
        break;
      }
      if (!said.empty()) said += ' ';
      said += content;
    }
    said = trimmed(without_markup(said));
    if (said.empty()) continue;
    if (!cues.empty() && times->first - last_end_s >= kParagraphPauseS)
      cues.push_back({.text = "", .line = line});
    cues.push_back({.text = "[" + clock_text(times->first) + "] " + said,
                    .line = line,
                    .start_s = times->first,
                    .end_s = times->second});
    last_end_s = times->second;
  }
  return cues;
}

}  // namespace reelfolio::stages
