#pragma once

#include <cstddef>
#include <string_view>

namespace reelfolio::stages {

/// Columns that UTF-8 text takes where characters have fixed widths: none for combining marks, two
/// for East Asian wide characters and emoji, one for everything else (invalid bytes too).
std::size_t display_width(std::string_view text);
std::size_t character_width(char32_t c);

/// One character from byte `i` on; `i` moves behind it. An invalid byte stands for itself.
char32_t next_character(std::string_view text, std::size_t& i);

}  // namespace reelfolio::stages
