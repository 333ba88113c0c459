#include "stages/language/schema_validator.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <regex>
#include <string_view>
#include <utility>

#include "engine/json_tree.h"
#include "stages/language/decimal_digits.h"
#include "stages/language/text_formats.h"

namespace reelfolio::stages {

namespace {

// Keys sorted: objects are compared without regard to their order.
using Value = nlohmann::json;

constexpr std::size_t kMaxErrors = 100;
constexpr int kMaxSteps = 1'000'000;

using Patterns = std::map<std::string, std::regex, std::less<>>;

void add_pattern(const std::string& pattern, Patterns& patterns) {
  if (patterns.contains(pattern)) return;
  try {
    patterns.emplace(pattern, std::regex(pattern, std::regex::ECMAScript));
  } catch (const std::regex_error&) {
    // Checked where it is a schema's; elsewhere (in a const) it is no pattern.
  }
}

/// Compiles whatever may be a pattern, also where an object is no schema.
void collect_patterns(const Value& node, Patterns& patterns) {
  if (!node.is_structured()) return;
  if (node.is_object()) {
    if (const auto own = node.find("pattern"); own != node.end() && own->is_string()) {
      add_pattern(own->get<std::string>(), patterns);
    }
    if (const auto names = node.find("patternProperties"); names != node.end() && names->is_object()) {
      for (const auto& [name, schema] : names->items()) add_pattern(name, patterns);
    }
  }
  for (const Value& each : node) collect_patterns(each, patterns);
}

const char* type_of(const Value& value) {
  switch (value.type()) {
    case Value::value_t::null:
      return "null";
    case Value::value_t::boolean:
      return "a boolean";
    case Value::value_t::string:
      return "a string";
    case Value::value_t::array:
      return "an array";
    case Value::value_t::object:
      return "an object";
    default:
      return "a number";
  }
}

bool is_whole(const Value& value) {
  if (value.is_number_integer()) return true;
  if (!value.is_number_float()) return false;
  const double number = value.get<double>();
  return std::isfinite(number) && std::trunc(number) == number;
}

bool has_type(const Value& value, std::string_view type) {
  if (type == "null") return value.is_null();
  if (type == "boolean") return value.is_boolean();
  if (type == "string") return value.is_string();
  if (type == "array") return value.is_array();
  if (type == "object") return value.is_object();
  if (type == "integer") return is_whole(value);
  return value.is_number();
}

std::size_t characters_of(const std::string& text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

std::string step(std::string_view key) {
  return "/" + engine::pointer_step(key);
}

/// One check of one value.
class Check {
 public:
  Check(const Value& root, const Patterns& patterns) : root_(root), patterns_(patterns) {}

  /// Whether `value` fits; errors are kept where `explain`.
  bool fits(const Value& schema, const Value& value, const std::string& place, bool explain) {
    if (++steps_ > kMaxSteps) return false;
    if (schema.is_boolean()) {
      return schema.get<bool>() || fail(place, "is not allowed", explain);
    }
    bool fit = true;
    for (const auto& [keyword, argument] : schema.items()) {
      fit = keyword_fits(schema, keyword, argument, value, place, explain) && fit;
      if (!fit && !explain) return false;
    }
    return fit;
  }

  bool gave_up() const { return steps_ > kMaxSteps; }
  std::vector<std::string> errors;

 private:
  bool fail(const std::string& place, const std::string& message, bool explain) {
    if (explain && errors.size() < kMaxErrors) {
      errors.push_back((place.empty() ? "the object" : place) + ": " + message);
    }
    return false;
  }

  bool keyword_fits(const Value& schema, const std::string& keyword, const Value& argument,
                    const Value& value, const std::string& place, bool explain) {
    const auto require = [&](bool holds, const std::string& message) {
      return holds || fail(place, message, explain);
    };
    if (keyword == "$ref") return fits(target(argument), value, place, explain);
    if (keyword == "type") return require(has_any_type(argument, value), wrong_type(argument, value));
    if (keyword == "const") return require(argument == value, "is not " + argument.dump());
    if (keyword == "enum") {
      return require(std::ranges::find(argument, value) != argument.end(), "is none of " + argument.dump());
    }
    if (keyword == "not") {
      return require(!fits(argument, value, place, false), "fits a schema that it must not fit");
    }
    if (keyword == "if") {
      const char* branch = fits(argument, value, place, false) ? "then" : "else";
      const auto chosen = schema.find(branch);
      return chosen == schema.end() || fits(*chosen, value, place, explain);
    }
    if (keyword == "allOf") {
      bool fit = true;
      for (const Value& each : argument) fit = fits(each, value, place, explain) && fit;
      return fit;
    }
    if (keyword == "anyOf" || keyword == "oneOf") {
      const auto count =
          std::ranges::count_if(argument, [&](const Value& each) { return fits(each, value, place, false); });
      if (keyword == "anyOf" ? count > 0 : count == 1) return true;
      return fail(place,
                  "fits " + std::string(count == 0 ? "none" : std::to_string(count)) + " of " +
                      std::to_string(argument.size()) + " alternatives" + (count > 0 ? ", expected one" : ""),
                  explain);
    }
    if (value.is_string()) return text_fits(keyword, argument, value.get_ref<const std::string&>(), require);
    if (value.is_number()) return number_fits(keyword, argument, value, require);
    if (value.is_array()) return array_fits(schema, keyword, argument, value, place, explain, require);
    if (value.is_object()) return object_fits(schema, keyword, argument, value, place, explain, require);
    return true;
  }

  template <class Require>
  bool text_fits(const std::string& keyword, const Value& argument, const std::string& text,
                 const Require& require) const {
    if (keyword == "minLength") {
      return require(characters_of(text) >= argument.get<std::size_t>(),
                     "is shorter than " + argument.dump() + " characters");
    }
    if (keyword == "maxLength") {
      return require(characters_of(text) <= argument.get<std::size_t>(),
                     "is longer than " + argument.dump() + " characters");
    }
    if (keyword == "pattern") {
      return require(matches(argument.get<std::string>(), text), "does not match " + argument.dump());
    }
    if (keyword == "format") {
      const auto format = argument.get<std::string>();
      return require(has_format(text, format), "is no " + format);
    }
    return true;
  }

  template <class Require>
  static bool number_fits(const std::string& keyword, const Value& argument, const Value& value,
                          const Require& require) {
    if (keyword == "minimum") return require(value >= argument, "is below " + argument.dump());
    if (keyword == "maximum") return require(value <= argument, "is above " + argument.dump());
    if (keyword == "exclusiveMinimum") return require(value > argument, "is not above " + argument.dump());
    if (keyword == "exclusiveMaximum") return require(value < argument, "is not below " + argument.dump());
    if (keyword == "multipleOf") {
      return require(is_multiple_of(decimal_digits(value), decimal_digits(argument)),
                     "is no multiple of " + argument.dump());
    }
    return true;
  }

  template <class Require>
  bool array_fits(const Value& schema, const std::string& keyword, const Value& argument, const Value& value,
                  const std::string& place, bool explain, const Require& require) {
    if (keyword == "minItems") {
      return require(value.size() >= argument.get<std::size_t>(), "has fewer items than " + argument.dump());
    }
    if (keyword == "maxItems") {
      return require(value.size() <= argument.get<std::size_t>(), "has more items than " + argument.dump());
    }
    if (keyword == "uniqueItems" && argument.get<bool>()) {
      std::vector<const Value*> sorted;
      for (const Value& each : value) sorted.push_back(&each);
      std::ranges::sort(sorted, [](const Value* a, const Value* b) { return *a < *b; });
      const auto same =
          std::ranges::adjacent_find(sorted, [](const Value* a, const Value* b) { return *a == *b; });
      return require(same == sorted.end(), "has an item twice");
    }
    if (keyword == "contains") {
      const auto limit = [&](const char* name, std::size_t otherwise) {
        const auto found = schema.find(name);
        return found == schema.end() ? otherwise : found->get<std::size_t>();
      };
      const auto count = static_cast<std::size_t>(std::ranges::count_if(
          value, [&](const Value& each) { return fits(argument, each, place, false); }));
      return require(count >= limit("minContains", 1) && count <= limit("maxContains", value.size()),
                     "has " + std::to_string(count) + " items that fit 'contains'");
    }
    if (keyword == "prefixItems" || (keyword == "items" && argument.is_array())) {
      return items_fit(value, 0, argument.size(), place, explain,
                       [&](std::size_t i) -> const Value& { return argument[i]; });
    }
    // What follows the listed ones.
    if (keyword == "items" || keyword == "additionalItems") {
      const auto listed = schema.find(keyword == "items" ? "prefixItems" : "items");
      const bool is_listed = listed != schema.end() && listed->is_array();
      if (!is_listed && keyword == "additionalItems") return true;
      return items_fit(value, is_listed ? listed->size() : 0, value.size(), place, explain,
                       [&](std::size_t) -> const Value& { return argument; });
    }
    return true;
  }

  /// Items first to end - 1, as far as there are any.
  template <class SchemaOf>
  bool items_fit(const Value& value, std::size_t first, std::size_t end, const std::string& place,
                 bool explain, const SchemaOf& schema_of) {
    bool fit = true;
    for (std::size_t i = first; i < std::min(end, value.size()); ++i) {
      fit = fits(schema_of(i), value[i], place + "/" + std::to_string(i), explain) && fit;
      if (!fit && !explain) return false;
    }
    return fit;
  }

  template <class Require>
  bool object_fits(const Value& schema, const std::string& keyword, const Value& argument, const Value& value,
                   const std::string& place, bool explain, const Require& require) {
    if (keyword == "minProperties") {
      return require(value.size() >= argument.get<std::size_t>(), "has fewer keys than " + argument.dump());
    }
    if (keyword == "maxProperties") {
      return require(value.size() <= argument.get<std::size_t>(), "has more keys than " + argument.dump());
    }
    bool fit = true;
    if (keyword == "required") {
      for (const Value& name : argument) {
        fit = require(value.contains(name.get<std::string>()), "lacks '" + name.get<std::string>() + "'") &&
              fit;
      }
    } else if (keyword == "dependentRequired" || keyword == "dependentSchemas" || keyword == "dependencies") {
      for (const auto& [name, dependent] : argument.items()) {
        if (!value.contains(name)) continue;
        if (!dependent.is_array()) {
          fit = fits(dependent, value, place, explain) && fit;
          continue;
        }
        for (const Value& other : dependent) {
          const auto needed = other.get<std::string>();
          fit = require(value.contains(needed), "has '" + name + "', but lacks '" + needed + "'") && fit;
        }
      }
    } else if (keyword == "properties") {
      for (const auto& [name, property] : argument.items()) {
        const auto found = value.find(name);
        if (found != value.end()) fit = fits(property, *found, place + step(name), explain) && fit;
      }
    } else if (keyword == "patternProperties") {
      for (const auto& [pattern, property] : argument.items()) {
        for (const auto& [name, each] : value.items()) {
          if (matches(pattern, name)) fit = fits(property, each, place + step(name), explain) && fit;
        }
      }
    } else if (keyword == "additionalProperties") {
      for (const auto& [name, each] : value.items()) {
        if (is_listed(schema, name)) continue;
        const bool allowed = argument.is_boolean() ? argument.get<bool>() : true;
        fit = allowed ? fits(argument, each, place + step(name), explain) && fit
                      : fail(place + step(name), "is no key of the schema", explain);
      }
    } else if (keyword == "propertyNames") {
      for (const auto& [name, each] : value.items()) {
        fit = require(fits(argument, Value(name), place, false),
                      "has a key that 'propertyNames' does not allow: " + Value(name).dump()) &&
              fit;
      }
    }
    return fit;
  }

  bool is_listed(const Value& schema, const std::string& name) const {
    if (const auto listed = schema.find("properties"); listed != schema.end() && listed->contains(name)) {
      return true;
    }
    const auto patterns = schema.find("patternProperties");
    if (patterns == schema.end()) return false;
    for (const auto& [pattern, property] : patterns->items()) {
      if (matches(pattern, name)) return true;
    }
    return false;
  }

  static bool has_any_type(const Value& types, const Value& value) {
    if (types.is_string()) return has_type(value, types.get_ref<const std::string&>());
    return std::ranges::any_of(
        types, [&](const Value& type) { return has_type(value, type.get_ref<const std::string&>()); });
  }

  static std::string wrong_type(const Value& types, const Value& value) {
    std::string expected;
    if (types.is_string()) {
      expected = types.get<std::string>();
    } else {
      for (const Value& type : types) expected += (expected.empty() ? "" : " or ") + type.get<std::string>();
    }
    return std::string("is ") + type_of(value) + ", expected " + expected;
  }

  const Value& target(const Value& ref) const {
    return root_.at(Value::json_pointer(ref.get_ref<const std::string&>().substr(1)));
  }

  /// Whether the pattern matches a part of `text`.
  bool matches(const std::string& pattern, const std::string& text) const {
    const auto found = patterns_.find(pattern);
    return found != patterns_.end() && std::regex_search(text, found->second);
  }

  const Value& root_;
  const Patterns& patterns_;
  int steps_ = 0;
};

}  // namespace

struct SchemaValidator::Impl {
  Value schema;
  Patterns patterns;
};

SchemaValidator::SchemaValidator(const Json& schema) {
  auto impl = std::make_unique<Impl>();
  impl->schema = Value(schema);
  collect_patterns(impl->schema, impl->patterns);
  impl_ = std::move(impl);
}
SchemaValidator::SchemaValidator(SchemaValidator&&) noexcept = default;
SchemaValidator& SchemaValidator::operator=(SchemaValidator&&) noexcept = default;
SchemaValidator::~SchemaValidator() = default;

std::vector<std::string> SchemaValidator::errors(const Json& value) const {
  Check check(impl_->schema, impl_->patterns);
  const bool fits = check.fits(impl_->schema, Value(value), "", true);
  if (check.gave_up()) return {"the object: cannot be checked within a million steps"};
  if (!fits && check.errors.empty()) check.errors.emplace_back("the object: does not fit the schema");
  return std::move(check.errors);
}

}  // namespace reelfolio::stages
