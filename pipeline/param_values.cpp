#include "pipeline/param_values.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "pipeline/names.h"

namespace reelfolio::pipeline {

namespace {

using stages::ParamSpec;
using stages::ParamType;
using stages::ParamValue;
using Scalar = SpecValue::Scalar;

const char* expected_type(ParamType type) {
  switch (type) {
    case ParamType::boolean:
      return "true or false";
    case ParamType::integer:
      return "a whole number";
    case ParamType::number:
      return "a number";
    case ParamType::duration:
      return "a duration such as 0.6s, 15ms, 2min or 1h";
    case ParamType::path:
      return "a path";
    case ParamType::text_list:
      return "text or a list of texts";
    case ParamType::text_map:
      return "a map of names to texts";
    case ParamType::choice:
    case ParamType::text:
      break;
  }
  return "text";
}

[[noreturn]] void wrong_type(const SpecValue& value, const ParamSpec& spec) {
  throw ConfigError(value.where, in_quotes(spec.name) + " is " + describe(value) + ", expected " +
                                     expected_type(spec.type));
}

/// The whole of `text` as a number of type T.
template <class T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if constexpr (std::is_floating_point_v<T>) {
    if (!std::isfinite(value)) return std::nullopt;
  }
  return value;
}

struct UnitOfMeasure {
  std::string_view name;
  double factor;
  double divisor = 1;  // 15 / 1000 is the nearest number to 0.015; 15 * 0.001 need not be
};

/// A number with one of `units` behind it (or none, factor 1).
std::optional<double> parse_measure(std::string_view text, std::span<const UnitOfMeasure> units) {
  const std::size_t end = text.find_first_not_of("0123456789.+-");
  const std::string_view number = text.substr(0, end);
  std::string_view unit = end == std::string_view::npos ? std::string_view() : text.substr(end);
  unit.remove_prefix(std::min(unit.find_first_not_of(' '), unit.size()));
  const auto value = parse_number<double>(number);
  if (!value) return std::nullopt;
  if (unit.empty()) return end == std::string_view::npos ? value : std::nullopt;
  for (const UnitOfMeasure& candidate : units) {
    if (candidate.name == unit) return *value * candidate.factor / candidate.divisor;
  }
  return std::nullopt;
}

constexpr std::array<UnitOfMeasure, 4> kDurationUnits = {
    {{"ms", 1, 1000}, {"s", 1}, {"min", 60}, {"h", 3600}}};
constexpr std::array<UnitOfMeasure, 7> kSizeUnits = {
    {{"B", 1}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824}}};

std::string measure_text(double value, ParamType type) {
  return number_text(value) + (type == ParamType::duration ? "s" : "");
}

void check_bounds(double value, const SpecValue& written, const ParamSpec& spec) {
  if (!(spec.min && value < *spec.min) && !(spec.max && value > *spec.max)) return;
  std::string expected;
  if (spec.min && spec.max) {
    expected = measure_text(*spec.min, spec.type) + " to " + measure_text(*spec.max, spec.type);
  } else if (spec.min) {
    expected = measure_text(*spec.min, spec.type) + " or more";
  } else {
    expected = measure_text(*spec.max, spec.type) + " or less";
  }
  throw ConfigError(written.where, in_quotes(spec.name) + " is " + std::get<Scalar>(written.data).text +
                                       ", expected " + expected);
}

std::string read_text(const SpecValue& value, const ParamSpec& spec) {
  const auto* scalar = std::get_if<Scalar>(&value.data);
  if (scalar == nullptr) wrong_type(value, spec);
  return scalar->text;
}

std::string read_choice(const SpecValue& value, const ParamSpec& spec) {
  std::string text = read_text(value, spec);
  if (std::find(spec.choices.begin(), spec.choices.end(), text) != spec.choices.end()) return text;
  const std::string hint = suggestion(text, spec.choices);
  std::string message =
      in_quotes(spec.name) + " is " + in_quotes(text) + ", expected one of " + joined(spec.choices, ", ");
  if (hint.find("did you mean") != std::string::npos) message += hint;
  throw ConfigError(value.where, message);
}

/// A whole number, a number or a duration. Quoted text is none.
ParamValue read_number(const SpecValue& value, const ParamSpec& spec) {
  const auto* scalar = std::get_if<Scalar>(&value.data);
  if (scalar == nullptr) wrong_type(value, spec);
  if (spec.type == ParamType::integer) {
    const auto number = scalar->quoted ? std::nullopt : parse_number<std::int64_t>(scalar->text);
    if (!number) wrong_type(value, spec);
    check_bounds(static_cast<double>(*number), value, spec);
    return *number;
  }
  std::optional<double> number;
  if (spec.type == ParamType::duration) {
    number = parse_measure(scalar->text, kDurationUnits);
  } else if (!scalar->quoted) {
    number = parse_number<double>(scalar->text);
  }
  if (!number) wrong_type(value, spec);
  check_bounds(*number, value, spec);
  return *number;
}

ParamValue read_text_list(const SpecValue& value, const ParamSpec& spec) {
  std::vector<std::string> texts;
  if (const auto* list = std::get_if<SpecValue::List>(&value.data)) {
    for (const SpecValue& element : *list) {
      const auto* scalar = std::get_if<Scalar>(&element.data);
      if (scalar == nullptr) {
        throw ConfigError(element.where,
                          in_quotes(spec.name) + " lists " +
                              (std::holds_alternative<std::monostate>(element.data) ? "an empty value"
                                                                                    : describe(element)) +
                              ", expected text");
      }
      texts.push_back(scalar->text);
    }
  } else {
    texts.push_back(read_text(value, spec));
  }
  return texts;
}

ParamValue read_text_map(const SpecValue& value, const ParamSpec& spec) {
  const auto* map = std::get_if<SpecValue::Map>(&value.data);
  if (map == nullptr) wrong_type(value, spec);
  stages::TextMap texts;
  for (const SpecValue::MapEntry& entry : *map) {
    const auto* scalar = std::get_if<Scalar>(&entry.value.data);
    if (scalar == nullptr) {
      throw ConfigError(entry.value.where, in_quotes(entry.key) + " in " + in_quotes(spec.name) + " is " +
                                               describe(entry.value) + ", expected text");
    }
    texts.emplace_back(entry.key, scalar->text);
  }
  return texts;
}

}  // namespace

ParamValue read_param(const SpecValue& value, const ParamSpec& spec) {
  if (std::holds_alternative<std::monostate>(value.data)) {
    if (!spec.required && std::holds_alternative<std::monostate>(spec.default_value)) return {};
    wrong_type(value, spec);
  }
  switch (spec.type) {
    case ParamType::boolean: {
      const auto* scalar = std::get_if<Scalar>(&value.data);
      if (scalar == nullptr || scalar->quoted) wrong_type(value, spec);
      if (scalar->text == "true" || scalar->text == "True" || scalar->text == "TRUE") return true;
      if (scalar->text == "false" || scalar->text == "False" || scalar->text == "FALSE") return false;
      wrong_type(value, spec);
    }
    case ParamType::integer:
    case ParamType::number:
    case ParamType::duration:
      return read_number(value, spec);
    case ParamType::choice:
      return read_choice(value, spec);
    case ParamType::text_list:
      return read_text_list(value, spec);
    case ParamType::text_map:
      return read_text_map(value, spec);
    case ParamType::text:
    case ParamType::path:
      break;
  }
  return read_text(value, spec);
}

stages::Params read_params(const SpecValue::Map& entries, const std::vector<ParamSpec>& specs,
                           const std::vector<std::string>& skip, const std::string& owner,
                           const SourceLocation& where) {
  stages::Params params;
  for (const ParamSpec& spec : specs) {
    const auto* whole = std::get_if<std::int64_t>(&spec.default_value);
    const bool fraction = spec.type == ParamType::number || spec.type == ParamType::duration;
    params.set(spec.name,
               whole != nullptr && fraction ? ParamValue(static_cast<double>(*whole)) : spec.default_value);
  }
  for (const SpecValue::MapEntry& entry : entries) {
    if (std::find(skip.begin(), skip.end(), entry.key) != skip.end()) continue;
    const auto spec =
        std::find_if(specs.begin(), specs.end(), [&](const ParamSpec& s) { return s.name == entry.key; });
    if (spec == specs.end()) {
      std::vector<std::string> names = skip;
      for (const ParamSpec& known : specs) names.push_back(known.name);
      throw ConfigError(entry.key_where, "unknown key " + in_quotes(entry.key) + " in " + owner +
                                             suggestion(entry.key, names));
    }
    params.set(spec->name, read_param(entry.value, *spec));
  }
  for (const ParamSpec& spec : specs) {
    if (spec.required && !params.has(spec.name)) {
      throw ConfigError(where,
                        owner + " has no " + in_quotes(spec.name) + ", expected " + expected_type(spec.type));
    }
  }
  return params;
}

std::uint64_t read_size(const SpecValue& value, const std::string& name) {
  const auto* scalar = std::get_if<Scalar>(&value.data);
  const auto bytes = scalar != nullptr ? parse_measure(scalar->text, kSizeUnits) : std::nullopt;
  // 2^53: beyond it a double no longer counts single bytes.
  if (!bytes || *bytes < 1 || *bytes > 9007199254740992.0) {
    throw ConfigError(value.where, in_quotes(name) + " is " + describe(value) +
                                       ", expected a size such as 4096, 512KiB or 2GB");
  }
  return static_cast<std::uint64_t>(*bytes);
}

std::string number_text(double value) {
  std::array<char, 32> buffer{};
  const auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return error == std::errc() ? std::string(buffer.data(), end) : "0";
}

std::string yaml_text(std::string_view text) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '/' || c == '.';
  };
  // Words that YAML 1.1 or 1.2 reads as something else than text, and what begins like a number.
  static constexpr std::array<std::string_view, 10> kReserved = {"null", "true", "false", "yes", "no",
                                                                 "on",   "off",  "y",     "n",   "nan"};
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  const bool starts_as_word = !text.empty() && ((lower[0] >= 'a' && lower[0] <= 'z') || lower[0] == '/');
  if (starts_as_word && std::all_of(text.begin(), text.end(), plain) &&
      std::find(kReserved.begin(), kReserved.end(), lower) == kReserved.end()) {
    return std::string(text);
  }
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out = "\"";
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      out += "\\x";
      out += kHex[byte >> 4U];
      out += kHex[byte & 0xFU];
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string param_to_yaml(const ParamValue& value, ParamType type) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* whole = std::get_if<std::int64_t>(&value)) {
    return type == ParamType::duration ? std::to_string(*whole) + "s" : std::to_string(*whole);
  }
  if (const auto* number = std::get_if<double>(&value)) {
    // An exponent would end the number of a duration; fixed notation never has one.
    if (type != ParamType::duration) return number_text(*number);
    std::array<char, 512> buffer{};
    const auto [end, error] =
        std::to_chars(buffer.data(), buffer.data() + buffer.size(), *number, std::chars_format::fixed);
    return (error == std::errc() ? std::string(buffer.data(), end) : "0") + "s";
  }
  if (const auto* text = std::get_if<std::string>(&value)) return yaml_text(*text);
  if (const auto* list = std::get_if<std::vector<std::string>>(&value)) {
    std::string out = "[";
    for (const std::string& element : *list) out += (out.size() > 1 ? ", " : "") + yaml_text(element);
    return out + "]";
  }
  if (const auto* map = std::get_if<stages::TextMap>(&value)) {
    std::string out = "{";
    for (const auto& [name, text] : *map) {
      out += (out.size() > 1 ? ", " : "") + yaml_text(name) + ": " + yaml_text(text);
    }
    return out + "}";
  }
  return "null";
}

std::string describe(const SpecValue& value) {
  if (std::holds_alternative<std::monostate>(value.data)) return "empty";
  if (const auto* scalar = std::get_if<Scalar>(&value.data)) {
    return scalar->quoted ? "the text " + in_quotes(scalar->text) : in_quotes(scalar->text);
  }
  return std::holds_alternative<SpecValue::List>(value.data) ? "a list" : "a map";
}

}  // namespace reelfolio::pipeline
