#include "engine/constraint/schema_document.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/constraint/formats.h"
#include "engine/constraint/schema_checker.h"
#include "engine/constraint/schema_references.h"

namespace reelfolio::engine::constraint {

SchemaDocument::SchemaDocument(std::string_view text) {
  Json parsed;
  try {
    parsed = Json::parse(text);
  } catch (const Json::exception& error) {
    // The library's messages begin with an id in brackets.
    std::string message = error.what();
    if (const std::size_t end = message.find("] "); end != std::string::npos) message.erase(0, end + 2);
    throw ConstraintError({{"", "is not JSON: " + message}});
  }
  point_references(parsed);
  root_ = std::make_unique<const Json>(std::move(parsed));
  SchemaChecker(*this).check();
}

SchemaDocument::~SchemaDocument() = default;

const Json* SchemaDocument::target(const Json& schema) const {
  const auto found = targets_.find(&schema);
  return found == targets_.end() ? nullptr : found->second;
}

const std::vector<SchemaDocument::Dependency>& SchemaDocument::dependencies(const Json& schema) const {
  static const std::vector<Dependency> kNone;
  const auto found = dependencies_.find(&schema);
  return found == dependencies_.end() ? kNone : found->second;
}

bool SchemaDocument::is_made(const Json& schema) const {
  return std::any_of(made_.begin(), made_.end(), [&](const auto& each) { return each.get() == &schema; });
}

void SchemaDocument::add_dependency(const Json& schema, const std::string& key, const Json& required,
                                    const Json* then, const std::string& pointer) {
  const auto make = [&](Json made) {
    made_.push_back(std::make_unique<const Json>(std::move(made)));
    pointers_.emplace(made_.back().get(), pointer);
    return made_.back().get();
  };
  Json absent = Json::object();
  absent["properties"][key] = false;
  Json present = Json::object();
  present["type"] = "object";
  present["required"] = Json::array({key});
  for (const Json& name : required) present["required"].push_back(name);
  // One after the other: made_ grows.
  const Json* without = make(std::move(absent));
  const Json* with = make(std::move(present));
  dependencies_[&schema].push_back({without, with, then});
}

bool equal(const Json& a, const Json& b) {
  if (a.is_number() && b.is_number()) return compare(decimal(a), decimal(b)) == 0;
  if (a.is_array() && b.is_array()) {
    return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), equal);
  }
  if (a.is_object() && b.is_object()) {
    return a.size() == b.size() && std::all_of(a.items().begin(), a.items().end(), [&](const auto& member) {
             const auto other = b.find(member.key());
             return other != b.end() && equal(member.value(), *other);
           });
  }
  return a.type() == b.type() && a == b;
}

Decimal decimal(const Json& number) {
  return Decimal::parse(number.dump()).value_or(Decimal{});
}

std::size_t length_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string_view type_name(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::boolean:
      return "boolean";
    case Json::value_t::string:
      return "string";
    case Json::value_t::array:
      return "array";
    case Json::value_t::object:
      return "object";
    default:
      return decimal(value).whole() ? "integer" : "number";
  }
}

bool has_type(const Json& schema, const Json& value) {
  const auto types = schema.find("type");
  if (types == schema.end()) return true;
  const std::string_view name = type_name(value);
  const auto matches = [&](const Json& type) {
    const auto& text = type.get_ref<const std::string&>();
    return text == name || (name == "integer" && text == "number");
  };
  return types->is_string() ? matches(*types) : std::any_of(types->begin(), types->end(), matches);
}

NumberRule number_rule(const Json& schema) {
  NumberRule rule;
  const auto bound = [&](const char* keyword, bool exclusive, bool is_least, std::optional<Bound>& kept) {
    const auto found = schema.find(keyword);
    if (found == schema.end()) return;
    const Bound next{decimal(*found), exclusive};
    const int order = kept ? compare(next.value, kept->value) : 0;
    if (!kept || (is_least ? order > 0 : order < 0) || (order == 0 && exclusive)) kept = next;
  };
  bound("minimum", false, true, rule.least);
  bound("exclusiveMinimum", true, true, rule.least);
  bound("maximum", false, false, rule.most);
  bound("exclusiveMaximum", true, false, rule.most);
  if (const auto found = schema.find("multipleOf"); found != schema.end()) rule.multiple_of = decimal(*found);
  return rule;
}

std::size_t least_contained(const Json& schema) {
  if (!schema.contains("contains")) return 0;
  const auto least = schema.find("minContains");
  return least == schema.end() ? 1 : least->get<std::size_t>();
}

bool wants_unique_items(const Json& schema) {
  const auto found = schema.find("uniqueItems");
  return found != schema.end() && found->get<bool>();
}

const Json* listed_items(const Json& schema) {
  if (const auto found = schema.find("prefixItems"); found != schema.end()) return &*found;
  const auto found = schema.find("items");
  return found != schema.end() && found->is_array() ? &*found : nullptr;
}

const Json* rest_items(const Json& schema) {
  const auto items = schema.find("items");
  if (items != schema.end() && !items->is_array()) return &*items;
  if (items == schema.end()) return nullptr;
  const auto found = schema.find("additionalItems");
  return found == schema.end() ? nullptr : &*found;
}

bool SchemaDocument::satisfies(const Json& schema, const Json& value) const {
  if (!satisfies_own(schema, value)) return false;
  if (schema.is_boolean()) return true;
  if (const Json* target = this->target(schema); target != nullptr && !satisfies(*target, value))
    return false;
  const auto each = [&](const char* keyword, auto f) {
    const auto found = schema.find(keyword);
    return found == schema.end() || f(*found);
  };
  const auto count = [&](const Json& branches) {
    return std::count_if(branches.begin(), branches.end(),
                         [&](const Json& branch) { return satisfies(branch, value); });
  };
  if (!each("allOf",
            [&](const Json& all) { return count(all) == static_cast<std::ptrdiff_t>(all.size()); })) {
    return false;
  }
  if (!each("anyOf", [&](const Json& any) { return count(any) > 0; })) return false;
  if (!each("oneOf", [&](const Json& one) { return count(one) == 1; })) return false;
  if (!each("not", [&](const Json& other) { return !satisfies(other, value); })) return false;
  for (const Dependency& dependency : dependencies(schema)) {
    if (satisfies_own(*dependency.absent, value)) continue;
    if (!satisfies_own(*dependency.present, value)) return false;
    if (dependency.schema != nullptr && !satisfies(*dependency.schema, value)) return false;
  }
  if (const auto condition = schema.find("if"); condition != schema.end()) {
    const char* branch = satisfies(*condition, value) ? "then" : "else";
    if (!each(branch, [&](const Json& then) { return satisfies(then, value); })) return false;
  }
  return true;
}

bool SchemaDocument::satisfies_own(const Json& schema, const Json& value) const {
  if (schema.is_boolean()) return schema.get<bool>();
  const auto each = [&](const char* keyword, auto f) {
    const auto found = schema.find(keyword);
    return found == schema.end() || f(*found);
  };
  if (!has_type(schema, value)) return false;
  if (!each("enum", [&](const Json& values) {
        return std::any_of(values.begin(), values.end(), [&](const Json& one) { return equal(one, value); });
      })) {
    return false;
  }
  if (!each("const", [&](const Json& one) { return equal(one, value); })) return false;
  if (value.is_number()) {
    const NumberRule rule = number_rule(schema);
    const Decimal number = decimal(value);
    if (rule.least) {
      const int order = compare(number, rule.least->value);
      if (order < 0 || (order == 0 && rule.least->exclusive)) return false;
    }
    if (rule.most) {
      const int order = compare(number, rule.most->value);
      if (order > 0 || (order == 0 && rule.most->exclusive)) return false;
    }
    return !rule.multiple_of || is_multiple(number, *rule.multiple_of);
  }
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    const std::size_t length = length_of(text);
    return each("minLength",
                [&](const Json& least) {
                  return decimal(least).zero() || length >= least.get<std::size_t>();
                }) &&
           each("maxLength", [&](const Json& most) { return length <= most.get<std::size_t>(); }) &&
           each("pattern", [&](const Json& one) { return pattern(one.get<std::string>()).admits(text); }) &&
           each("format",
                [&](const Json& name) { return format_texts(name.get<std::string>())->admits(text); });
  }
  if (value.is_array()) return satisfies_array(schema, value);
  return !value.is_object() || satisfies_object(schema, value);
}

bool SchemaDocument::satisfies_array(const Json& schema, const Json& value) const {
  if (schema.contains("minItems") && value.size() < schema["minItems"].get<std::size_t>()) return false;
  if (schema.contains("maxItems") && value.size() > schema["maxItems"].get<std::size_t>()) return false;
  if (const std::size_t least = least_contained(schema); least > 0) {
    const auto contained = std::count_if(
        value.begin(), value.end(), [&](const Json& item) { return satisfies(schema["contains"], item); });
    if (static_cast<std::size_t>(contained) < least) return false;
  }
  if (wants_unique_items(schema)) {
    for (std::size_t i = 0; i < value.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        if (equal(value[i], value[j])) return false;
      }
    }
  }
  const Json* listed = listed_items(schema);
  const Json* rest = rest_items(schema);
  for (std::size_t i = 0; i < value.size(); ++i) {
    const bool is_listed = listed != nullptr && i < listed->size();
    const Json* item = is_listed ? &(*listed)[i] : rest;
    if (item != nullptr && !satisfies(*item, value[i])) return false;
  }
  return true;
}

bool SchemaDocument::satisfies_object(const Json& schema, const Json& value) const {
  if (schema.contains("minProperties") && value.size() < schema["minProperties"].get<std::size_t>())
    return false;
  if (schema.contains("maxProperties") && value.size() > schema["maxProperties"].get<std::size_t>())
    return false;
  if (schema.contains("required")) {
    for (const Json& name : schema["required"]) {
      if (!value.contains(name.get_ref<const std::string&>())) return false;
    }
  }
  const Json* properties = schema.contains("properties") ? &schema["properties"] : nullptr;
  const Json* patterns = schema.contains("patternProperties") ? &schema["patternProperties"] : nullptr;
  for (const auto& [name, member] : value.items()) {
    bool is_additional = true;
    if (schema.contains("propertyNames") && !satisfies(schema["propertyNames"], Json(name))) return false;
    if (properties != nullptr && properties->contains(name)) {
      is_additional = false;
      if (!satisfies((*properties)[name], member)) return false;
    }
    if (patterns != nullptr) {
      for (const auto& [text, below] : patterns->items()) {
        if (!pattern(text).admits(name)) continue;
        is_additional = false;
        if (!satisfies(below, member)) return false;
      }
    }
    if (is_additional && schema.contains("additionalProperties") &&
        !satisfies(schema["additionalProperties"], member)) {
      return false;
    }
  }
  return true;
}

}  // namespace reelfolio::engine::constraint
