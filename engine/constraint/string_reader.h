#pragma once

#include <cstdint>
#include <string>

#include "engine/constraint/grammar.h"

namespace reelfolio::engine::constraint {

/// A place inside a JSON string, behind its opening quote.
struct StringPlace {
  /// What has been read of an escape.
  enum Mode : std::uint8_t {
    plain,
    backslash,
    unit_0,  ///< \u and no digit yet; the next three have 1, 2 and 3 digits
    unit_1,
    unit_2,
    unit_3,
    high,        ///< a high surrogate, which another escape must follow
    high_slash,  ///< and its backslash
    low_0,       ///< and its u
    low_1,
    low_2,
    low_3,
  };
  Dfa::State state = 0;  ///< of the content
  std::uint32_t chars = 0;
  std::uint32_t escape = 0;  ///< value of the digits; low_*: the high surrogate above 16 bits
  std::uint8_t mode = plain;

  friend bool operator==(const StringPlace&, const StringPlace&) = default;
};

/// Moves over one byte of the string's spelling other than its closing quote. False where no string
/// of the shape goes on so: every place reached can be completed.
bool read_string_byte(const StringShape& shape, StringPlace& place, unsigned char byte);

/// Whether the closing quote may come here.
inline bool may_close(const StringShape& shape, const StringPlace& place) {
  return place.mode == StringPlace::plain && place.chars >= shape.min_chars &&
         shape.content.accepts(place.state);
}

/// Bytes up to and without the closing quote, as few characters as can be.
std::string string_rest(const StringShape& shape, StringPlace place);
/// At most so many bytes, the closing quote included.
std::uint32_t string_rest_bytes(const StringShape& shape, const StringPlace& place);

}  // namespace reelfolio::engine::constraint
