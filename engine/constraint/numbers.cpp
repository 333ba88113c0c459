#include "engine/constraint/numbers.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

namespace reelfolio::engine::constraint {

namespace {

constexpr std::uint64_t kMaxModulus = 20000;
constexpr int kMaxExponent = 9999;

void normalise(Decimal& number) {
  const std::size_t first = number.digits.find_first_not_of('0');
  if (first == std::string::npos) {
    number = {};
    return;
  }
  number.digits.erase(0, first);
  number.point -= static_cast<int>(first);
  number.digits.erase(number.digits.find_last_not_of('0') + 1);
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

}  // namespace

std::optional<Decimal> Decimal::parse(std::string_view text) {
  Decimal number;
  std::size_t at = 0;
  if (at < text.size() && text[at] == '-') {
    number.negative = true;
    ++at;
  }
  const std::size_t begin = at;
  for (; at < text.size() && is_digit(text[at]); ++at) number.digits += text[at];
  if (at == begin) return std::nullopt;
  number.point = static_cast<int>(number.digits.size());
  if (at < text.size() && text[at] == '.') {
    const std::size_t fraction = ++at;
    for (; at < text.size() && is_digit(text[at]); ++at) number.digits += text[at];
    if (at == fraction) return std::nullopt;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    const bool minus = at < text.size() && text[at] == '-';
    if (at < text.size() && (text[at] == '-' || text[at] == '+')) ++at;
    const std::size_t digits = at;
    int exponent = 0;
    for (; at < text.size() && is_digit(text[at]); ++at) {
      exponent = std::min(10 * exponent + (text[at] - '0'), kMaxExponent);
    }
    if (at == digits) return std::nullopt;
    number.point += minus ? -exponent : exponent;
  }
  if (at != text.size()) return std::nullopt;
  normalise(number);
  return number;
}

std::string Decimal::plain() const {
  if (zero()) return "0";
  std::string text = negative ? "-" : "";
  const int size = static_cast<int>(digits.size());
  if (point <= 0) return text + "0." + std::string(static_cast<std::size_t>(-point), '0') + digits;
  if (point >= size) return text + digits + std::string(static_cast<std::size_t>(point - size), '0');
  return text + digits.substr(0, static_cast<std::size_t>(point)) + "." +
         digits.substr(static_cast<std::size_t>(point));
}

int compare(const Decimal& a, const Decimal& b) {
  const auto sign = [](const Decimal& each) { return each.zero() ? 0 : each.negative ? -1 : 1; };
  if (sign(a) != sign(b)) return sign(a) < sign(b) ? -1 : 1;
  if (a.zero()) return 0;
  const int larger = a.negative ? -1 : 1;
  if (a.point != b.point) return a.point > b.point ? larger : -larger;
  // Without zeros at the end, the longer of two that agree is the larger.
  const int order = a.digits.compare(b.digits);
  return order == 0 ? 0 : order > 0 ? larger : -larger;
}

bool is_multiple(const Decimal& a, const Decimal& b) {
  if (a.zero()) return true;
  // Long division of the digits, both scaled by the same power of ten.
  std::string dividend = a.digits;
  std::string divisor = b.digits;
  const int a_scale = static_cast<int>(a.digits.size()) - a.point;
  const int b_scale = static_cast<int>(b.digits.size()) - b.point;
  if (a_scale < b_scale) dividend.append(static_cast<std::size_t>(b_scale - a_scale), '0');
  if (b_scale < a_scale) divisor.append(static_cast<std::size_t>(a_scale - b_scale), '0');
  const auto not_less = [](const std::string& x, const std::string& y) {
    return x.size() != y.size() ? x.size() > y.size() : x >= y;
  };
  std::string rest;
  for (const char digit : dividend) {
    if (!rest.empty() || digit != '0') rest += digit;
    while (not_less(rest, divisor)) {
      int borrow = 0;
      for (std::size_t i = 0; i < rest.size(); ++i) {
        char& place = rest[rest.size() - 1 - i];
        int value = (place - '0') - borrow - (i < divisor.size() ? divisor[divisor.size() - 1 - i] - '0' : 0);
        borrow = value < 0 ? 1 : 0;
        if (value < 0) value += 10;
        place = static_cast<char>('0' + value);
      }
      rest.erase(0, std::min(rest.find_first_not_of('0'), rest.size()));
    }
  }
  return rest.empty();
}

namespace {

/// Compares the magnitude of a number that is being read with a bound's.
class Comparator {
 public:
  enum Order : std::uint32_t { less, equal, greater };
  explicit Comparator(const Decimal& bound) {
    std::string whole;
    for (int i = 0; i < bound.point; ++i) {
      const auto at = static_cast<std::size_t>(i);
      whole += at < bound.digits.size() ? bound.digits[at] : '0';
    }
    whole_ = whole.empty() ? "0" : whole;
    if (!bound.zero()) {
      fraction_.assign(static_cast<std::size_t>(std::max(0, -bound.point)), '0');
      const auto begin = static_cast<std::size_t>(std::max(0, bound.point));
      if (begin < bound.digits.size()) fraction_ += bound.digits.substr(begin);
    }
  }

  /// `digits` digits in front of the point were read before this one.
  Order whole_digit(Order order, std::size_t digits, char digit) const {
    if (order != equal || digits >= whole_.size()) return order;
    return against(digit, whole_[digits]);
  }
  /// The digits in front of the point end after `digits` of them.
  Order whole_end(Order order, std::size_t digits) const {
    return digits == whole_.size() ? order : digits < whole_.size() ? less : greater;
  }
  Order fraction_digit(Order order, std::size_t digits, char digit) const {
    if (order != equal) return order;
    return against(digit, digits < fraction_.size() ? fraction_[digits] : '0');
  }
  Order fraction_end(Order order, std::size_t digits) const {
    return order == equal && digits < fraction_.size() ? less : order;
  }

 private:
  static Order against(char digit, char other) {
    return digit < other ? less : digit > other ? greater : equal;
  }
  std::string whole_;
  std::string fraction_;
};

enum Phase : std::uint32_t {
  begin,
  minus,
  zero,
  whole,
  point,
  fraction,
  exponent,
  exponent_sign,
  exponent_1,
  exponent_2
};

/// Everything that the rest of a number depends on.
struct Progress {
  std::uint32_t phase = begin;
  std::uint32_t negative = 0;
  std::uint32_t digits = 0;       ///< in front of the point
  std::uint32_t fraction = 0;     ///< behind it
  std::uint32_t significant = 0;  ///< from the first that is not 0
  std::uint32_t low = Comparator::equal, high = Comparator::equal;
  std::uint32_t residue = 0;

  explicit Progress(const Dfa::Key& key)
      : phase(key[0]),
        negative(key[1]),
        digits(key[2]),
        fraction(key[3]),
        significant(key[4]),
        low(key[5]),
        high(key[6]),
        residue(key[7]) {}
  Progress() = default;
  Dfa::Key key() const { return {phase, negative, digits, fraction, significant, low, high, residue}; }
};

/// Bounds of a magnitude.
struct Range {
  std::optional<Comparator> low, high;
  bool low_exclusive = false, high_exclusive = false;
  bool empty = false;
};

Range range_of(const NumberRule& rule, bool negative) {
  // The magnitude of a negative number grows towards the lower bound.
  const std::optional<Bound>& near = negative ? rule.most : rule.least;
  const std::optional<Bound>& far = negative ? rule.least : rule.most;
  Range range;
  if (near && near->value.negative == negative && !near->value.zero()) {
    range.low.emplace(near->value);
    range.low_exclusive = near->exclusive;
  } else if (near && near->value.zero() && !negative && near->exclusive) {
    range.low.emplace(Decimal{});
    range.low_exclusive = true;
  }
  if (far && (far->value.zero() || far->value.negative == negative)) {
    if (far->value.zero() && negative) range.empty = true;  // 0 has no sign
    range.high.emplace(far->value);
    range.high_exclusive = far->exclusive;
  } else if (far) {
    range.empty = true;
  }
  return range;
}

class Numbers {
 public:
  explicit Numbers(const NumberRule& rule)
      : rule_(rule), positive_(range_of(rule, false)), negative_(range_of(rule, true)) {}

  std::optional<Dfa> automaton() {
    if (rule_.multiple_of && !set_modulus(*rule_.multiple_of)) return std::nullopt;
    std::array<bool, 257> cuts{};
    for (const char c : std::string_view("0123456789-+.eE")) {
      const auto byte = static_cast<unsigned char>(c);
      cuts[byte] = cuts[std::size_t{byte} + 1] = true;
    }
    return Dfa::explore(
        Progress().key(), classes_of_cuts(cuts),
        [this](const Dfa::Key& key, unsigned char byte) {
          return step(Progress(key), static_cast<char>(byte));
        },
        [this](const Dfa::Key& key) { return ends(Progress(key)); }, kMaxDfaStates);
  }

 private:
  /// Multiples of p / 10^q: q digits of fraction at most count, and their number modulo p.
  bool set_modulus(const Decimal& multiple) {
    const int scale = static_cast<int>(multiple.digits.size()) - multiple.point;
    places_ = static_cast<std::uint32_t>(std::max(0, scale));
    if (places_ > 30) return false;
    const std::string p = multiple.digits + std::string(static_cast<std::size_t>(std::max(0, -scale)), '0');
    if (p.size() > 6) return false;
    modulus_ = std::stoull(p);
    return modulus_ <= kMaxModulus;
  }

  const Range& range(const Progress& at) const { return at.negative != 0 ? negative_ : positive_; }
  static Comparator::Order order(std::uint32_t value) { return static_cast<Comparator::Order>(value); }

  bool may_have_exponent() const {
    const auto is_zero = [](const std::optional<Bound>& bound) { return !bound || bound->value.zero(); };
    return !rule_.integer && !rule_.multiple_of && is_zero(rule_.least) && !rule_.most && !rule_.plain &&
           !rule_.every_spelling;
  }

  void count_residue(Progress& at, char digit) const {
    if (modulus_ == 0) return;
    at.residue = static_cast<std::uint32_t>(
        (std::uint64_t{at.residue} * 10 + static_cast<std::uint64_t>(digit - '0')) % modulus_);
  }
  bool count_significant(Progress& at, char digit) const {
    if (at.significant > 0 || digit != '0') ++at.significant;
    const bool is_bounded = rule_.least || rule_.most || rule_.multiple_of || rule_.plain;
    const int most = rule_.integer || rule_.every_spelling ? kMaxIntegerDigits
                     : is_bounded                          ? kMaxBoundedDigits
                                                           : kMaxSignificantDigits;
    return at.significant <= static_cast<std::uint32_t>(most);
  }

  std::optional<Dfa::Key> step(Progress at, char c) const {
    if (c == '-' && at.phase == begin) {
      if (negative_.empty) return std::nullopt;
      at.phase = minus;
      at.negative = 1;
      return at.key();
    }
    if (is_digit(c)) return digit(at, c);
    if (c == '.' && (at.phase == zero || at.phase == whole)) {
      if (rule_.integer && !rule_.every_spelling) return std::nullopt;
      end_whole(at);
      at.phase = point;
      return at.key();
    }
    const bool has_number = at.phase == zero || at.phase == whole || at.phase == fraction;
    if ((c == 'e' || c == 'E') && has_number && may_have_exponent()) {
      // Zero has no exponent: its sign and bound would need a look at every digit again.
      if (at.significant == 0) return std::nullopt;
      Progress next;
      next.phase = exponent;
      return next.key();
    }
    if ((c == '+' || c == '-') && at.phase == exponent) {
      at.phase = exponent_sign;
      return at.key();
    }
    return std::nullopt;
  }

  std::optional<Dfa::Key> digit(Progress at, char c) const {
    switch (at.phase) {
      case begin:
      case minus:
        if (at.negative == 0 && positive_.empty) return std::nullopt;
        at.phase = c == '0' ? zero : whole;
        return whole_digit(at, c);
      case whole:
        return whole_digit(at, c);
      case point:
      case fraction: {
        const Range& bounds = range(at);
        if (rule_.integer && c != '0') return std::nullopt;
        if (modulus_ > 0) {
          if (at.fraction >= places_ && c != '0') return std::nullopt;
          if (at.fraction < places_) count_residue(at, c);
        }
        if (!count_significant(at, c)) return std::nullopt;
        if (bounds.low) at.low = bounds.low->fraction_digit(order(at.low), at.fraction, c);
        if (bounds.high) at.high = bounds.high->fraction_digit(order(at.high), at.fraction, c);
        if (bounds.high && at.high == Comparator::greater) return std::nullopt;
        ++at.fraction;
        if (at.significant == 0 && at.fraction > static_cast<std::uint32_t>(kMaxLeadingZeros))
          return std::nullopt;
        at.phase = fraction;
        return at.key();
      }
      case exponent:
      case exponent_sign:
        at.phase = exponent_1;
        return at.key();
      case exponent_1:
        at.phase = exponent_2;
        return at.key();
      default:
        return std::nullopt;
    }
  }

  std::optional<Dfa::Key> whole_digit(Progress at, char c) const {
    const Range& bounds = range(at);
    count_residue(at, c);
    if (!count_significant(at, c)) return std::nullopt;
    if (bounds.low) at.low = bounds.low->whole_digit(order(at.low), at.digits, c);
    if (bounds.high) at.high = bounds.high->whole_digit(order(at.high), at.digits, c);
    ++at.digits;
    return at.key();
  }

  void end_whole(Progress& at) const {
    const Range& bounds = range(at);
    if (bounds.low) at.low = bounds.low->whole_end(order(at.low), at.digits);
    if (bounds.high) at.high = bounds.high->whole_end(order(at.high), at.digits);
    at.digits = 0;
  }

  bool ends(Progress at) const {
    if (at.phase == exponent_1 || at.phase == exponent_2) return true;
    if (at.phase != zero && at.phase != whole && at.phase != fraction) return false;
    if (at.negative != 0 && at.significant == 0) return false;
    if (modulus_ > 0) {
      for (std::uint32_t place = std::min(at.fraction, places_); place < places_; ++place)
        count_residue(at, '0');
      if (at.residue != 0) return false;
    }
    const Range& bounds = range(at);
    if (at.phase != fraction) end_whole(at);
    if (bounds.low) {
      const auto low = bounds.low->fraction_end(order(at.low), at.fraction);
      if (low == Comparator::less || (low == Comparator::equal && bounds.low_exclusive)) return false;
    }
    if (bounds.high) {
      const auto high = bounds.high->fraction_end(order(at.high), at.fraction);
      if (high == Comparator::greater || (high == Comparator::equal && bounds.high_exclusive)) return false;
    }
    return true;
  }

  const NumberRule& rule_;
  const Range positive_;
  const Range negative_;
  std::uint64_t modulus_ = 0;
  std::uint32_t places_ = 0;
};

}  // namespace

std::optional<Dfa> number_automaton(const NumberRule& rule) {
  return Numbers(rule).automaton();
}

std::vector<std::string> number_spellings(const Decimal& number) {
  std::vector<std::string> spellings;
  if (number.zero() || (number.point >= -kMaxLeadingZeros && number.point <= kMaxIntegerDigits)) {
    spellings.push_back(number.plain());
  }
  if (!number.zero()) {
    std::string text = number.negative ? "-" : "";
    text += number.digits.substr(0, 1);
    if (number.digits.size() > 1) text += "." + number.digits.substr(1);
    spellings.push_back(text + "e" + std::to_string(number.point - 1));
  }
  return spellings;
}

}  // namespace reelfolio::engine::constraint
