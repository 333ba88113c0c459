#include "stages/language/decimal_digits.h"

#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string_view>

namespace reelfolio::stages {

namespace {

DecimalDigits read_digits(std::string_view text) {
  DecimalDigits number;
  bool behind_point = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == 'e' || text[i] == 'E') {
      number.exponent += std::atoi(std::string(text.substr(i + 1)).c_str());
      break;
    }
    if (text[i] == '.') behind_point = true;
    if (text[i] < '0' || text[i] > '9') continue;
    number.digits += text[i];
    if (behind_point) --number.exponent;
  }
  number.digits.erase(0, number.digits.find_first_not_of('0'));
  while (!number.digits.empty() && number.digits.back() == '0') {
    number.digits.pop_back();
    ++number.exponent;
  }
  return number;
}

}  // namespace

DecimalDigits decimal_digits(const nlohmann::json& number) {
  return read_digits(number.dump());
}

DecimalDigits decimal_digits(const nlohmann::ordered_json& number) {
  return read_digits(number.dump());
}

bool is_multiple_of(const DecimalDigits& value, const DecimalDigits& divisor) {
  if (value.digits.empty()) return true;
  // Every multiple ends at the divisor's last digit or before it.
  if (value.exponent < divisor.exponent) return false;
  const std::uint64_t by = std::strtoull(divisor.digits.c_str(), nullptr, 10);
  std::uint64_t rest = 0;
  for (const char digit : value.digits) rest = (rest * 10 + static_cast<std::uint64_t>(digit - '0')) % by;
  for (int i = divisor.exponent; i < value.exponent; ++i) rest = rest * 10 % by;
  return rest == 0;
}

}  // namespace reelfolio::stages
