#include "stages/language/text_formats.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

namespace reelfolio::stages {

namespace {

bool is_decimal(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}
bool is_hex(char c) {
  return is_decimal(c) || (c >= 'A' && c <= 'F') || (c >= 'a' && c <= 'f');
}
bool is_among(char c, std::string_view set) {
  return set.find(c) != std::string_view::npos;
}

template <class Predicate>
bool all_are(std::string_view text, Predicate predicate) {
  return std::all_of(text.begin(), text.end(), predicate);
}

/// The first `length` characters as a number, all of them digits; they are taken off `text`.
std::optional<int> take_digits(std::string_view& text, std::size_t length) {
  if (text.size() < length || !all_are(text.substr(0, length), is_decimal)) return std::nullopt;
  int number = 0;
  for (const char c : text.substr(0, length)) number = number * 10 + (c - '0');
  text.remove_prefix(length);
  return number;
}

bool take_one(std::string_view& text, std::string_view set) {
  if (text.empty() || !is_among(text.front(), set)) return false;
  text.remove_prefix(1);
  return true;
}

bool take_date(std::string_view& text) {
  const auto year = take_digits(text, 4);
  if (!year || !take_one(text, "-")) return false;
  const auto month = take_digits(text, 2);
  if (!month || !take_one(text, "-")) return false;
  const auto day = take_digits(text, 2);
  constexpr std::array kDays = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  if (!day || *month < 1 || *month > 12) return false;
  const bool is_leap = *year % 4 == 0 && (*year % 100 != 0 || *year % 400 == 0);
  const int days = kDays[static_cast<std::size_t>(*month - 1)] + (*month == 2 && is_leap ? 1 : 0);
  return *day >= 1 && *day <= days;
}

bool is_time(std::string_view text) {
  const auto hour = take_digits(text, 2);
  if (!hour || *hour > 23 || !take_one(text, ":")) return false;
  const auto minute = take_digits(text, 2);
  if (!minute || *minute > 59 || !take_one(text, ":")) return false;
  const auto second = take_digits(text, 2);
  if (!second || *second > 60) return false;
  if (take_one(text, ".")) {
    const std::size_t digits =
        static_cast<std::size_t>(std::find_if_not(text.begin(), text.end(), is_decimal) - text.begin());
    if (digits == 0) return false;
    text.remove_prefix(digits);
  }
  int offset_min = 0;
  if (!take_one(text, "Zz")) {
    if (!take_one(text, "+-")) return false;
    const auto offset_hour = take_digits(text, 2);
    if (!offset_hour || *offset_hour > 23 || !take_one(text, ":")) return false;
    const auto rest = take_digits(text, 2);
    if (!rest || *rest > 59) return false;
    offset_min = *offset_hour * 60 + *rest;
  }
  if (!text.empty()) return false;
  return *second < 60 || (*hour == 23 && *minute == 59 && offset_min == 0);
}

bool is_ipv4(std::string_view text) {
  for (int part = 0; part < 4; ++part) {
    const std::size_t dot = part < 3 ? text.find('.') : text.size();
    if (dot == std::string_view::npos) return false;
    std::string_view digits = text.substr(0, dot);
    if (digits.empty() || digits.size() > 3 || (digits.size() > 1 && digits.front() == '0')) return false;
    const auto number = take_digits(digits, digits.size());
    if (!number || *number > 255) return false;
    text.remove_prefix(std::min(text.size(), dot + 1));
  }
  return text.empty();
}

/// Number of 16-bit groups between colons, an IPv4 address at the end counted as two; absent for anything
/// else. Of "" it is 0.
std::optional<int> ipv6_groups(std::string_view text, bool at_end) {
  int groups = 0;
  while (!text.empty()) {
    const std::size_t colon = text.find(':');
    const std::string_view group = text.substr(0, colon);
    if (at_end && colon == std::string_view::npos && is_ipv4(group)) return groups + 2;
    if (group.empty() || group.size() > 4 || !all_are(group, is_hex)) return std::nullopt;
    ++groups;
    if (colon == std::string_view::npos) break;
    text.remove_prefix(colon + 1);
    if (text.empty()) return std::nullopt;
  }
  return groups;
}

bool is_ipv6(std::string_view text) {
  const std::size_t gap = text.find("::");
  if (gap == std::string_view::npos) return ipv6_groups(text, true) == 8;
  const auto before = ipv6_groups(text.substr(0, gap), false);
  const auto after = ipv6_groups(text.substr(gap + 2), true);
  return before && after && *before + *after <= 7;
}

bool is_email(std::string_view text) {
  if (text.starts_with('"')) {
    text.remove_prefix(1);
    while (!text.empty() && text.front() != '"') {
      if (text.front() == '\\') text.remove_prefix(1);
      if (text.empty() || text.front() < ' ' || text.front() > '~') return false;
      text.remove_prefix(1);
    }
    if (!take_one(text, "\"")) return false;
  } else {
    const std::string_view local = text.substr(0, text.find('@'));
    std::size_t length = 0;  // of the atom
    for (const char c : local) {
      if (c == '.' ? length == 0 : !is_letter(c) && !is_decimal(c) && !is_among(c, "!#$%&'*+/=?^_`{|}~-"))
        return false;
      length = c == '.' ? 0 : length + 1;
      if (length > 64) return false;
    }
    if (length == 0) return false;
    text.remove_prefix(local.size());
  }
  if (!take_one(text, "@")) return false;
  if (text.starts_with('[')) {
    if (!text.ends_with(']')) return false;
    const std::string_view address = text.substr(1, text.size() - 2);
    return address.starts_with("IPv6:") ? is_ipv6(address.substr(5)) : is_ipv4(address);
  }
  while (true) {
    const std::string_view label = text.substr(0, text.find('.'));
    const bool fits = !label.empty() && label.size() <= 63 && label.front() != '-' && label.back() != '-' &&
                      all_are(label, [](char c) { return is_letter(c) || is_decimal(c) || c == '-'; });
    if (!fits) return false;
    if (label.size() == text.size()) return true;
    text.remove_prefix(label.size() + 1);
  }
}

constexpr std::string_view kUnreservedAndDelimiters = "-._~!$&'()*+,;=";

bool is_plain_uri_character(char c) {
  return is_letter(c) || is_decimal(c) || is_among(c, kUnreservedAndDelimiters);
}

/// Plain characters, those of `others`, and percent escapes.
bool is_uri_text(std::string_view text, std::string_view others) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      if (i + 2 >= text.size() || !is_hex(text[i + 1]) || !is_hex(text[i + 2])) return false;
      i += 2;
    } else if (!is_plain_uri_character(text[i]) && !is_among(text[i], others)) {
      return false;
    }
  }
  return true;
}

bool is_ip_literal(std::string_view text) {
  if (!text.starts_with('v')) return is_ipv6(text);
  const std::size_t dot = text.find('.');
  if (dot == std::string_view::npos) return false;
  const std::string_view address = text.substr(dot + 1);
  return dot > 1 && all_are(text.substr(1, dot - 1), is_hex) && !address.empty() &&
         all_are(address, [](char c) { return is_plain_uri_character(c) || c == ':'; });
}

bool is_authority(std::string_view text) {
  if (const std::size_t at = text.find('@'); at != std::string_view::npos) {
    if (!is_uri_text(text.substr(0, at), ":")) return false;
    text.remove_prefix(at + 1);
  }
  std::size_t host_end = std::min(text.find(':'), text.size());
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos || !is_ip_literal(text.substr(1, close - 1))) return false;
    host_end = close + 1;
  } else if (!is_uri_text(text.substr(0, host_end), "")) {
    return false;
  }
  text.remove_prefix(host_end);
  return text.empty() || (text.front() == ':' && all_are(text.substr(1), is_decimal));
}

bool is_uri(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0 || !is_letter(text.front())) return false;
  if (!all_are(text.substr(0, colon),
               [](char c) { return is_letter(c) || is_decimal(c) || is_among(c, "+-."); }))
    return false;
  text.remove_prefix(colon + 1);
  for (const char mark : {'#', '?'}) {
    const std::size_t at = text.find(mark);
    if (at == std::string_view::npos) continue;
    if (!is_uri_text(text.substr(at + 1), ":@/?")) return false;
    text = text.substr(0, at);
  }
  if (text.starts_with("//")) {
    text.remove_prefix(2);
    const std::string_view authority = text.substr(0, text.find('/'));
    if (!is_authority(authority)) return false;
    text.remove_prefix(authority.size());
  }
  return is_uri_text(text, ":@/");
}

bool is_uuid(std::string_view text) {
  constexpr std::size_t kLength = 36;
  if (text.size() != kLength) return false;
  for (std::size_t i = 0; i < kLength; ++i) {
    const bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (is_dash ? text[i] != '-' : !is_hex(text[i])) return false;
  }
  return true;
}

bool is_date(std::string_view text) {
  return take_date(text) && text.empty();
}

bool is_date_time(std::string_view text) {
  return take_date(text) && take_one(text, "Tt") && is_time(text);
}

constexpr std::array<std::pair<std::string_view, bool (*)(std::string_view)>, 6> kCheckedFormats = {
    {{"date", is_date},
     {"date-time", is_date_time},
     {"email", is_email},
     {"time", is_time},
     {"uri", is_uri},
     {"uuid", is_uuid}}};

}  // namespace

bool is_known_format(std::string_view format) {
  return std::any_of(kCheckedFormats.begin(), kCheckedFormats.end(),
                     [&](const auto& each) { return each.first == format; });
}

bool has_format(std::string_view text, std::string_view format) {
  return std::any_of(kCheckedFormats.begin(), kCheckedFormats.end(),
                     [&](const auto& each) { return each.first == format && each.second(text); });
}

}  // namespace reelfolio::stages
