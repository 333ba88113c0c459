#pragma once

#include <span>
#include <string_view>

#include "engine/constraint/dfa.h"

namespace reelfolio::engine::constraint {

/// The texts of a supported format (see schema_formats()); null for any other name.
///   date, time, date-time  RFC 3339; leap years, and leap seconds at 23:59:60 in UTC
///   email                  RFC 5321 without quoted names
///   uuid                   RFC 4122
///   uri                    RFC 3986, with a scheme
/// Built on first use; any thread.
const Dfa* format_texts(std::string_view format);

}  // namespace reelfolio::engine::constraint
