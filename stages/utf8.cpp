#include "stages/utf8.h"

namespace reelfolio::stages {

bool Utf8Check::feed(std::string_view bytes) {
  if (!valid_) return false;
  for (const char c : bytes) {
    const auto byte = static_cast<std::uint8_t>(c);
    if (pending_ > 0) {
      if (byte < low_ || byte > high_) return valid_ = false;
      low_ = 0x80;
      high_ = 0xBF;
      --pending_;
    } else if (byte >= 0x80) {
      if (byte >= 0xC2 && byte <= 0xDF) {
        pending_ = 1;
      } else if (byte >= 0xE0 && byte <= 0xEF) {
        pending_ = 2;
        if (byte == 0xE0) low_ = 0xA0;   // overlong below
        if (byte == 0xED) high_ = 0x9F;  // surrogates above
      } else if (byte >= 0xF0 && byte <= 0xF4) {
        pending_ = 3;
        if (byte == 0xF0) low_ = 0x90;
        if (byte == 0xF4) high_ = 0x8F;
      } else {
        return valid_ = false;
      }
    }
  }
  return true;
}

void truncate_utf8(std::string& text, std::size_t max_bytes) {
  if (text.size() <= max_bytes) return;
  std::size_t end = max_bytes;
  while (end > 0 && (static_cast<std::uint8_t>(text[end]) & 0xC0U) == 0x80U) --end;
  text.resize(end);
}

}  // namespace reelfolio::stages
