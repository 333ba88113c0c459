#include "stages/text/plain_text.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace reelfolio::stages {

namespace {

std::string without_controls(std::string_view line) {
  std::string text;
  text.reserve(line.size());
  for (const char c : line) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 ? byte != 0x7F : c == '\t') text += c;
  }
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.pop_back();
  return text;
}

std::string_view unindented(std::string_view line) {
  const std::size_t indent = std::min(line.find_first_not_of(' '), line.size());
  return indent > 3 ? std::string_view() : line.substr(indent);
}

/// 1 to 6 for "# Title" to "###### Title" (CommonMark, section 4.2); else 0.
int atx_level(std::string_view line) {
  line = unindented(line);
  const std::size_t marks = std::min(line.find_first_not_of('#'), line.size());
  if (marks == 0 || marks > 6) return 0;
  return marks == line.size() || line[marks] == ' ' || line[marks] == '\t' ? static_cast<int>(marks) : 0;
}

/// The character that a line is made of alone, at least `count` times; 0 if there is none.
char only_character(std::string_view line, std::size_t count) {
  line = unindented(line);
  if (line.size() < count) return '\0';
  return line.find_first_not_of(line.front()) == std::string_view::npos ? line.front() : '\0';
}

/// "```" or "~~~" that opens or closes a block of code; empty if the line is none.
std::string_view fence(std::string_view line) {
  line = unindented(line);
  return line.starts_with("```") || line.starts_with("~~~") ? line.substr(0, 3) : std::string_view();
}

void mark_markdown(TextLines& lines) {
  std::string open;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    TextLine& line = lines[i];
    const std::string_view marks = fence(line.text);
    if (!open.empty()) {
      line.code = true;
      if (marks == open) open.clear();
      continue;
    }
    if (!marks.empty()) {
      open = marks;
      line.code = true;
      continue;
    }
    line.heading = atx_level(line.text);
    if (i == 0 || line.text.empty()) continue;
    TextLine& above = lines[i - 1];
    // "---" below an empty line is a rule, below text it makes a heading.
    const char underline = only_character(line.text, 3);
    const bool above_is_title =
        !above.text.empty() && above.heading == 0 && !above.code && (i == 1 || lines[i - 2].text.empty());
    if (above_is_title && (underline == '=' || underline == '-')) above.heading = underline == '=' ? 1 : 2;
  }
}

}  // namespace

TextLines plain_lines(std::string_view text, bool markdown) {
  TextLines lines;
  int number = 1;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find_first_of("\r\n", at), text.size());
    std::string line = without_controls(text.substr(at, end - at));
    // More than two empty lines in a row say nothing; a file may be made of them.
    const bool after_two = lines.size() >= 2 && lines.back().text.empty() && (lines.end() - 2)->text.empty();
    if (!line.empty() || !after_two) lines.push_back({.text = std::move(line), .line = number});
    ++number;
    at = end + 1;
    if (end < text.size() && text[end] == '\r' && at < text.size() && text[at] == '\n') ++at;
  }
  if (markdown) mark_markdown(lines);
  return lines;
}

}  // namespace reelfolio::stages
