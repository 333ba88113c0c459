#include "stages/language/json_answer.h"

#include <cstddef>

namespace reelfolio::stages {

namespace {

/// Bounds the work on an answer that is nothing but braces.
constexpr int kMaxStarts = 64;

/// Length of the bracketed text that begins `text`, brackets inside strings not counted;
/// 0 if it does not end or is too deep.
std::size_t bracketed_length(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxAnswerDepth) return 0;
    } else if (c == '}' || c == ']') {
      if (--depth == 0) return i + 1;
    }
  }
  return 0;
}

}  // namespace

std::optional<Json> json_object_in(std::string_view answer, std::string_view* where) {
  std::size_t start = answer.find('{');
  for (int tries = 0; start != std::string_view::npos && tries < kMaxStarts; ++tries) {
    const std::string_view candidate = answer.substr(start, bracketed_length(answer.substr(start)));
    if (!candidate.empty()) {
      Json value = Json::parse(candidate, nullptr, /*allow_exceptions=*/false);
      if (value.is_object()) {
        if (where != nullptr) *where = candidate;
        return value;
      }
    }
    start = answer.find('{', start + 1);
  }
  return std::nullopt;
}

}  // namespace reelfolio::stages
