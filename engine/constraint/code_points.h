#pragma once

#include <vector>

namespace reelfolio::engine::constraint {

/// A range of code points, both ends included.
struct CodePoints {
  char32_t first;
  char32_t last;
};

inline constexpr char32_t kLastCodePoint = 0x10FFFF;

/// A range of bytes, both ends included.
struct ByteRange {
  unsigned char first;
  unsigned char last;
};
/// One byte out of each range in turn.
using ByteSequence = std::vector<ByteRange>;

/// Appends sequences that together match the UTF-8 of the range's code points, surrogates
/// left out, each in one way.
void append_utf8(CodePoints range, std::vector<ByteSequence>& out);

/// Sorted, joined where they touch, all inside the code space.
std::vector<CodePoints> normalised(std::vector<CodePoints> set);
/// All other code points. `set` is normalised.
std::vector<CodePoints> inverted(const std::vector<CodePoints>& set);

}  // namespace reelfolio::engine::constraint
