#pragma once

#include <string>

namespace reelfolio::stages {

/// Seconds rounded to the millisecond (halves away from zero), as the shortest decimal
/// without exponent: 12.3456 -> "12.346", 12.0 -> "12". Never "-0". The same bytes in
/// every locale. `seconds` must be finite.
std::string milliseconds_text(double seconds);

}  // namespace reelfolio::stages
