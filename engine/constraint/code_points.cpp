#include "engine/constraint/code_points.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "engine/utf8.h"

namespace reelfolio::engine::constraint {

namespace {

/// Splits a range whose ends have the same number of bytes: below the first byte in which
/// the ends differ, every byte but the outermost ones runs through all continuations.
void append_same_length(char32_t first, char32_t last, std::vector<ByteSequence>& out) {
  const std::string low = utf8_text(first);
  const std::string high = utf8_text(last);
  const std::size_t size = low.size();
  for (std::size_t tail = 1; tail < size; ++tail) {
    const char32_t mask = (char32_t{1} << (6 * tail)) - 1;
    if ((first & ~mask) == (last & ~mask)) break;
    if ((first & mask) != 0) {
      append_same_length(first, first | mask, out);
      append_same_length((first | mask) + 1, last, out);
      return;
    }
    if ((last & mask) != mask) {
      append_same_length(first, (last & ~mask) - 1, out);
      append_same_length(last & ~mask, last, out);
      return;
    }
  }
  ByteSequence sequence;
  for (std::size_t i = 0; i < size; ++i) {
    sequence.push_back({static_cast<unsigned char>(low[i]), static_cast<unsigned char>(high[i])});
  }
  out.push_back(std::move(sequence));
}

}  // namespace

void append_utf8(CodePoints range, std::vector<ByteSequence>& out) {
  constexpr std::array<CodePoints, 5> kLengths = {
      {{0, 0x7F}, {0x80, 0x7FF}, {0x800, 0xD7FF}, {0xE000, 0xFFFF}, {0x10000, kLastCodePoint}}};
  for (const CodePoints& part : kLengths) {
    const char32_t first = std::max(range.first, part.first);
    const char32_t last = std::min(range.last, part.last);
    if (first <= last) append_same_length(first, last, out);
  }
}

std::vector<CodePoints> normalised(std::vector<CodePoints> set) {
  std::sort(set.begin(), set.end(),
            [](const CodePoints& a, const CodePoints& b) { return a.first < b.first; });
  std::vector<CodePoints> joined;
  for (CodePoints range : set) {
    range.last = std::min(range.last, kLastCodePoint);
    if (range.first > range.last) continue;
    if (!joined.empty() && range.first <= joined.back().last + 1) {
      joined.back().last = std::max(joined.back().last, range.last);
    } else {
      joined.push_back(range);
    }
  }
  return joined;
}

std::vector<CodePoints> inverted(const std::vector<CodePoints>& set) {
  std::vector<CodePoints> rest;
  char32_t next = 0;
  for (const CodePoints& range : set) {
    if (range.first > next) rest.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLastCodePoint) rest.push_back({next, kLastCodePoint});
  return rest;
}

}  // namespace reelfolio::engine::constraint
