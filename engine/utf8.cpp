#include "engine/utf8.h"

#include <simdjson.h>

namespace reelfolio::engine {

Utf8Step read_utf8(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {Utf8Step::Kind::valid, 1, lead};
  if (lead < 0xC2 || lead > 0xF4) return {Utf8Step::Kind::invalid, 1, 0};
  const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  char32_t code_point = lead & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {Utf8Step::Kind::incomplete, i, 0};
    // The second byte's range rules out overlong forms, surrogates and what lies above U+10FFFF.
    unsigned char least = 0x80;
    unsigned char most = 0xBF;
    if (i == 1) {
      if (lead == 0xE0) least = 0xA0;
      if (lead == 0xED) most = 0x9F;
      if (lead == 0xF0) least = 0x90;
      if (lead == 0xF4) most = 0x8F;
    }
    if (byte(i) < least || byte(i) > most) return {Utf8Step::Kind::invalid, i, 0};
    code_point = (code_point << 6) | (byte(i) & 0x3FU);
  }
  return {Utf8Step::Kind::valid, length, code_point};
}

std::string utf8_text(char32_t code_point) {
  std::string text;
  const auto continuation = [&](int shift) {
    text += static_cast<char>(0x80U | ((code_point >> shift) & 0x3FU));
  };
  if (code_point < 0x80) {
    text += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    text += static_cast<char>(0xC0U | (code_point >> 6));
    continuation(0);
  } else if (code_point < 0x10000) {
    text += static_cast<char>(0xE0U | (code_point >> 12));
    continuation(6);
    continuation(0);
  } else {
    text += static_cast<char>(0xF0U | (code_point >> 18));
    continuation(12);
    continuation(6);
    continuation(0);
  }
  return text;
}

bool is_valid_utf8(std::string_view text) {
  return simdjson::validate_utf8(text.data(), text.size());
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Utf8Step step = read_utf8(text);
    out += step.kind == Utf8Step::Kind::valid ? text.substr(0, step.bytes) : kReplacementCharacter;
    text.remove_prefix(step.bytes);
  }
  return out;
}

}  // namespace reelfolio::engine
