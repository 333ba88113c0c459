#include "stages/decimal.h"

#include <cassert>
#include <cmath>
#include <cstdint>

namespace reelfolio::stages {

std::string milliseconds_text(double seconds) {
  assert(std::isfinite(seconds));
  const std::int64_t total_ms = std::llround(seconds * 1000.0);
  const std::int64_t size_ms = total_ms < 0 ? -total_ms : total_ms;
  std::string text = (total_ms < 0 ? "-" : "") + std::to_string(size_ms / 1000);
  std::string fraction = std::to_string(1000 + size_ms % 1000).substr(1);
  fraction.erase(fraction.find_last_not_of('0') + 1);
  if (!fraction.empty()) text += "." + fraction;
  return text;
}

}  // namespace reelfolio::stages
