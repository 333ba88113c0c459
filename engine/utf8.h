#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace reelfolio::engine {

/// What stands at the front of a text.
struct Utf8Step {
  enum class Kind {
    valid,       ///< one whole character
    invalid,     ///< bytes that no continuation can make valid
    incomplete,  ///< the text ends inside a character that may still become valid
  };
  Kind kind = Kind::invalid;
  /// Bytes of the character, or of the longest prefix of a valid one, at least 1.
  std::size_t bytes = 1;
  /// The code point, where valid.
  char32_t code_point = 0;
};

/// Reads the front of `text`, which is not empty, by RFC 3629: no overlong forms, no
/// surrogates, nothing above U+10FFFF.
Utf8Step read_utf8(std::string_view text);

/// A character as UTF-8; code_point is no surrogate and at most U+10FFFF.
std::string utf8_text(char32_t code_point);

/// Whether all of `text` is valid.
bool is_valid_utf8(std::string_view text);

/// A copy with U+FFFD for each invalid or incomplete step of read_utf8.
std::string replace_invalid_utf8(std::string_view text);

inline constexpr std::string_view kReplacementCharacter = "\uFFFD";

}  // namespace reelfolio::engine
