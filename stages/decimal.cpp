#include "stages/decimal.h"

#include <array>
#include <cassert>
#include <charconv>
#include <cmath>
#include <cstdint>

namespace reelfolio::stages {

std::string milliseconds_text(double seconds) {
  assert(std::isfinite(seconds));
  // From 2^52 on a double has no fraction; broken files tell such times, and 64 bits hold no more
  // than 2^53 seconds in milliseconds.
  constexpr double kWhole = 4503599627370496.0;
  if (std::abs(seconds) >= kWhole) {
    std::array<char, 320> buffer{};
    const auto end =
        std::to_chars(buffer.data(), buffer.data() + buffer.size(), seconds, std::chars_format::fixed).ptr;
    return {buffer.data(), end};
  }
  const std::int64_t total_ms = std::llround(seconds * 1000.0);
  const std::int64_t size_ms = total_ms < 0 ? -total_ms : total_ms;
  std::string text = (total_ms < 0 ? "-" : "") + std::to_string(size_ms / 1000);
  std::string fraction = std::to_string(1000 + size_ms % 1000).substr(1);
  fraction.erase(fraction.find_last_not_of('0') + 1);
  if (!fraction.empty()) text += "." + fraction;
  return text;
}

}  // namespace reelfolio::stages
