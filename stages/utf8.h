#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "engine/utf8.h"

namespace reelfolio::stages {

/// Checks bytes that arrive in pieces against UTF-8 (RFC 3629: no surrogates, no
/// overlong forms, nothing above U+10FFFF).
class Utf8Check {
 public:
  /// False from the first byte on that cannot be UTF-8.
  bool feed(std::string_view bytes);
  /// Valid so far, and not in the middle of a character.
  bool complete() const { return valid_ && pending_ == 0; }

 private:
  bool valid_ = true;
  int pending_ = 0;          ///< continuation bytes still to come
  std::uint8_t low_ = 0x80;  ///< bounds of the next continuation byte
  std::uint8_t high_ = 0xBF;
};

using engine::replace_invalid_utf8;

/// `text` cut to at most `max_bytes` bytes, never inside a character of valid UTF-8.
void truncate_utf8(std::string& text, std::size_t max_bytes);

}  // namespace reelfolio::stages
