#include "engine/constraint/string_reader.h"

#include <algorithm>
#include <cassert>
#include <string_view>
#include <vector>

#include "engine/constraint/code_points.h"
#include "engine/utf8.h"

namespace reelfolio::engine::constraint {

namespace {

using Mode = StringPlace::Mode;

constexpr char32_t kHigh = 0xD800;
constexpr char32_t kLow = 0xDC00;
constexpr char32_t kAfterSurrogates = 0xE000;

/// The character that an escape of one letter stands for; 0xFF for none.
unsigned char short_escape(unsigned char letter) {
  switch (letter) {
    case '"':
    case '\\':
    case '/':
      return letter;
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    default:
      return 0xFF;
  }
}

constexpr std::string_view kShortEscapes = "\"\\/bfnrtu";

int hex_digit(unsigned char c) {
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : -1;
}

/// Whether a string can go on from `state` with `chars` characters read.
bool can_end(const StringShape& shape, Dfa::State state, std::uint32_t chars) {
  return state != Dfa::kDead && chars + std::uint64_t{shape.rest_chars[state]} <= shape.max_chars;
}

/// Code points that \u may spell.
std::vector<CodePoints> spelled_by_unit(Escapes escapes) {
  switch (escapes) {
    case Escapes::all:
      return {{0, kLastCodePoint}};
    case Escapes::not_ascii:
      return {{0, 0x1F}, {0x80, kLastCodePoint}};
    case Escapes::needed:
      break;
  }
  return {{0, 7}, {0x0B, 0x0B}, {0x0E, 0x1F}};
}

/// Code points that the escape read so far may still become.
std::vector<CodePoints> reachable(const StringPlace& place) {
  std::vector<CodePoints> found;
  const auto add_supplementary = [&](char32_t high, char32_t first_low, char32_t last_low) {
    const char32_t base = 0x10000 + ((high - kHigh) << 10);
    found.push_back({base + first_low - kLow, base + last_low - kLow});
  };
  if (place.mode >= Mode::unit_0 && place.mode <= Mode::unit_3) {
    const int open = 4 * (4 - (place.mode - Mode::unit_0));
    const char32_t first = place.escape << open;
    const char32_t last = first + (char32_t{1} << open) - 1;
    if (first < kHigh) found.push_back({first, std::min<char32_t>(last, kHigh - 1)});
    if (last >= kAfterSurrogates) found.push_back({std::max(first, kAfterSurrogates), last});
    const char32_t first_high = std::max(first, kHigh);
    const char32_t last_high = std::min<char32_t>(last, kLow - 1);
    if (first_high <= last_high) {
      found.push_back(
          {0x10000 + ((first_high - kHigh) << 10), 0x10000 + ((last_high - kHigh) << 10) + 0x3FF});
    }
  } else if (place.mode == Mode::high || place.mode == Mode::high_slash) {
    add_supplementary(place.escape, kLow, kAfterSurrogates - 1);
  } else if (place.mode >= Mode::low_0) {
    const int open = 4 * (4 - (place.mode - Mode::low_0));
    const char32_t first = (place.escape & 0xFFFF) << open;
    const char32_t last = first + (char32_t{1} << open) - 1;
    const char32_t first_low = std::max(first, kLow);
    const char32_t last_low = std::min<char32_t>(last, kAfterSurrogates - 1);
    if (first_low <= last_low) add_supplementary(place.escape >> 16, first_low, last_low);
  }
  return found;
}

bool any_path(const StringShape& shape, Dfa::State state, std::uint32_t chars, const ByteSequence& bytes,
              std::size_t at) {
  if (at == bytes.size()) return can_end(shape, state, chars);
  for (unsigned b = bytes[at].first; b <= bytes[at].last; ++b) {
    const Dfa::State next = shape.content.next(state, static_cast<unsigned char>(b));
    if (next != Dfa::kDead && any_path(shape, next, chars, bytes, at + 1)) return true;
  }
  return false;
}

/// Whether one of the code points leads to a place that can be completed.
bool any_of(const StringShape& shape, const StringPlace& place, const std::vector<CodePoints>& wanted) {
  const std::vector<CodePoints> allowed = spelled_by_unit(shape.escapes);
  std::vector<ByteSequence> sequences;
  for (const CodePoints& a : wanted) {
    for (const CodePoints& b : allowed) {
      const CodePoints both{std::max(a.first, b.first), std::min(a.last, b.last)};
      if (both.first <= both.last) append_utf8(both, sequences);
    }
  }
  return std::any_of(sequences.begin(), sequences.end(), [&](const ByteSequence& sequence) {
    return any_path(shape, place.state, place.chars + 1, sequence, 0);
  });
}

/// Takes a whole character that an escape stood for.
bool take(const StringShape& shape, StringPlace& place, char32_t code_point) {
  for (const char c : utf8_text(code_point)) {
    place.state = shape.content.next(place.state, static_cast<unsigned char>(c));
    if (place.state == Dfa::kDead) return false;
  }
  ++place.chars;
  place.mode = Mode::plain;
  place.escape = 0;
  return can_end(shape, place.state, place.chars);
}

bool take_short(const StringShape& shape, StringPlace place, unsigned char letter) {
  const unsigned char character = short_escape(letter);
  if (character == 0xFF || (letter == '/' && shape.escapes != Escapes::all)) return false;
  return take(shape, place, character);
}

bool can_finish_escape(const StringShape& shape, const StringPlace& place) {
  if (place.mode == Mode::backslash) {
    StringPlace unit = place;
    unit.mode = Mode::unit_0;
    return std::any_of(
               kShortEscapes.begin(), kShortEscapes.end() - 1,
               [&](char letter) { return take_short(shape, place, static_cast<unsigned char>(letter)); }) ||
           can_finish_escape(shape, unit);
  }
  return any_of(shape, place, reachable(place));
}

bool read_digit(const StringShape& shape, StringPlace& place, unsigned char byte) {
  const int digit = hex_digit(byte);
  if (digit < 0) return false;
  // Canonical escapes have small digits.
  if (shape.escapes == Escapes::needed && byte >= 'A' && byte <= 'F') return false;
  const auto value = static_cast<std::uint32_t>(digit);
  if (place.mode < Mode::high) {
    place.escape = (place.escape << 4) | value;
    if (place.mode != Mode::unit_3) {
      ++place.mode;
      return can_finish_escape(shape, place);
    }
    const char32_t unit = place.escape;
    if (unit >= kHigh && unit < kLow) {
      place.mode = Mode::high;
      return can_finish_escape(shape, place);
    }
    const std::vector<CodePoints> one = {{unit, unit}};
    return (unit < kHigh || unit >= kAfterSurrogates) && any_of(shape, place, one) &&
           take(shape, place, unit);
  }
  place.escape = (place.escape & 0xFFFF0000U) | ((place.escape << 4) & 0xFFF0U) | value;
  if (place.mode != Mode::low_3) {
    ++place.mode;
    return can_finish_escape(shape, place);
  }
  const char32_t low = place.escape & 0xFFFF;
  if (low < kLow || low >= kAfterSurrogates) return false;
  return take(shape, place, 0x10000 + (((place.escape >> 16) - kHigh) << 10) + (low - kLow));
}

}  // namespace

bool read_string_byte(const StringShape& shape, StringPlace& place, unsigned char byte) {
  switch (place.mode) {
    case Mode::plain:
      if (byte < 0x20 || byte == '"') return false;
      if (byte == '\\') {
        // Not inside a character: what an escape stands for would not fit there.
        place.mode = Mode::backslash;
        return can_finish_escape(shape, place);
      }
      place.state = shape.content.next(place.state, byte);
      if ((byte & 0xC0) != 0x80) ++place.chars;
      return can_end(shape, place.state, place.chars);
    case Mode::backslash:
      if (byte == 'u') {
        place.mode = Mode::unit_0;
        return can_finish_escape(shape, place);
      }
      if (!take_short(shape, place, byte)) return false;
      return take(shape, place, short_escape(byte));
    case Mode::high:
      place.mode = Mode::high_slash;
      return byte == '\\';
    case Mode::high_slash:
      place.mode = Mode::low_0;
      place.escape <<= 16;
      return byte == 'u';
    default:
      return read_digit(shape, place, byte);
  }
}

std::string string_rest(const StringShape& shape, StringPlace place) {
  std::string rest;
  const auto read = [&](unsigned char byte) {
    StringPlace next = place;
    if (!read_string_byte(shape, next, byte)) return false;
    place = next;
    rest += static_cast<char>(byte);
    return true;
  };
  while (place.mode != Mode::plain) {
    constexpr std::string_view kTried = "\"\\/bfnrtu0123456789abcdef";
    const bool moved = std::any_of(kTried.begin(), kTried.end(),
                                   [&](char c) { return read(static_cast<unsigned char>(c)); });
    assert(moved);
    if (!moved) break;
  }
  while (!shape.content.accepts(place.state)) {
    const unsigned char byte = shape.shortest_byte[place.state];
    bool all = true;
    for (const char c : spell(std::string(1, static_cast<char>(byte))))
      all = all && read(static_cast<unsigned char>(c));
    assert(all);
    if (!all) break;
  }
  while (place.chars < shape.min_chars && read('-')) {
  }
  return rest;
}

std::uint32_t string_rest_bytes(const StringShape& shape, const StringPlace& place) {
  if (place.mode != Mode::plain) return static_cast<std::uint32_t>(string_rest(shape, place).size()) + 1;
  const std::uint32_t missing =
      shape.min_chars > place.chars ? static_cast<std::uint32_t>(shape.min_chars) - place.chars : 0;
  return longer(shape.rest_bytes[place.state], std::uint64_t{missing} + 1);
}

}  // namespace reelfolio::engine::constraint
