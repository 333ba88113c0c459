#pragma once

#include <string_view>

namespace reelfolio::stages {

/// The values of `format` that are checked: date, time, date-time (RFC 3339; leap seconds in UTC alone),
/// email (RFC 5321; parts between dots of 64 characters, labels of 63), uri (RFC 3986) and uuid (RFC 4122).
bool is_known_format(std::string_view format);

/// Whether `text` is of a format that is checked.
bool has_format(std::string_view text, std::string_view format);

}  // namespace reelfolio::stages
