#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace reelfolio::stages {

/// The absolute value of a number as JSON writes it, exactly: `digits` times ten to the power of
/// `exponent`. The digits neither begin nor end with a 0; there are none of 0 itself.
struct DecimalDigits {
  std::string digits;
  int exponent = 0;
};
DecimalDigits decimal_digits(const nlohmann::json& number);
DecimalDigits decimal_digits(const nlohmann::ordered_json& number);

/// Whether `value` is a whole multiple of `divisor`, which is not 0 and has at most 18 digits.
bool is_multiple_of(const DecimalDigits& value, const DecimalDigits& divisor);

}  // namespace reelfolio::stages
