#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/constraint/dfa.h"

namespace reelfolio::engine::constraint {

/// An exact decimal number: (-1)^negative * 0.digits * 10^point.
struct Decimal {
  bool negative = false;
  std::string digits;  ///< no zero at either end; empty: the number is 0
  int point = 0;       ///< digits in front of the decimal point; may be negative or beyond the digits

  /// Reads a JSON number, exponents up to +-9999 included; absent where it is none.
  static std::optional<Decimal> parse(std::string_view text);
  bool zero() const { return digits.empty(); }
  bool whole() const { return static_cast<int>(digits.size()) <= point || zero(); }
  /// "-0.05", "42": no exponent, no needless digit. Only for numbers of ordinary size.
  std::string plain() const;
};

/// <0, 0, >0 as a is smaller than, equal to or greater than b.
int compare(const Decimal& a, const Decimal& b);
/// Whether a is a whole multiple of b, which is above 0.
bool is_multiple(const Decimal& a, const Decimal& b);

struct Bound {
  Decimal value;
  bool exclusive = false;
};

struct NumberRule {
  bool integer = false;
  std::optional<Bound> least, most;
  std::optional<Decimal> multiple_of;
  /// No exponents, and not more digits than bounded numbers have, also without bounds.
  bool plain = false;
  /// Every plain spelling of the numbers, so that none is left where they are taken away: a
  /// whole number may have a fraction of zeros, and the digits are as many as there are anywhere.
  bool every_spelling = false;
};

/// Whole numbers have this many digits at most: they fit 64 bits.
inline constexpr int kMaxIntegerDigits = 18;
/// Significant digits of other numbers: so many tell any two doubles apart ...
inline constexpr int kMaxSignificantDigits = 17;
/// ... and so many keep their order as doubles, which bounds and multiples need.
inline constexpr int kMaxBoundedDigits = 15;
/// Zeros between the point and the first other digit.
inline constexpr int kMaxLeadingZeros = 15;

/// The spellings of the numbers that `rule` admits: an optional minus sign, no leading zeros, any
/// number of zeros at the end of a fraction within the limits above, no negative zero. A number
/// without bounds and multiple may have an exponent of one or two digits.
/// Absent where the automaton would be too large (a multipleOf of many digits).
std::optional<Dfa> number_automaton(const NumberRule& rule);

/// The spellings of `number` that are worth trying: plain and with an exponent.
std::vector<std::string> number_spellings(const Decimal& number);

}  // namespace reelfolio::engine::constraint
