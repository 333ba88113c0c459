#include "engine/constraint/schema_checker.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "engine/constraint/formats.h"
#include "engine/constraint/keyword_values.h"
#include "engine/constraint/regex.h"
#include "engine/constraint/schema_references.h"
#include "engine/json_tree.h"

namespace reelfolio::engine {

namespace {

constexpr std::string_view kDynamic = "$ref leads to places in this document alone, whatever refers to it";
constexpr std::string_view kCounting = "an automaton cannot look back on the items";
constexpr std::string_view kExclusive =
    "of arrays and objects where they exclude each other: by type, const, enum or required";

constexpr std::array kKeywords = {
    SchemaKeyword{"$anchor", "", "", true},
    SchemaKeyword{"$comment", "", "", true},
    SchemaKeyword{"$defs", ""},
    SchemaKeyword{"$dynamicAnchor", kDynamic},
    SchemaKeyword{"$dynamicRef", kDynamic},
    SchemaKeyword{"$id", "", "", true},
    SchemaKeyword{"$recursiveAnchor", kDynamic},
    SchemaKeyword{"$recursiveRef", kDynamic},
    SchemaKeyword{"$ref", "", "to places in the same file"},
    SchemaKeyword{"$schema", "", "", true},
    SchemaKeyword{"$vocabulary", "vocabularies are not supported"},
    SchemaKeyword{"additionalItems", ""},
    SchemaKeyword{"additionalProperties", ""},
    SchemaKeyword{"allOf", ""},
    SchemaKeyword{"anyOf", ""},
    SchemaKeyword{"const", ""},
    SchemaKeyword{"contains", "", "once for an array, without listed items or uniqueItems"},
    SchemaKeyword{"contentEncoding", "use pattern"},
    SchemaKeyword{"contentMediaType", "strings hold text alone"},
    SchemaKeyword{"contentSchema", "strings hold text alone"},
    SchemaKeyword{"default", "", "", true},
    SchemaKeyword{"definitions", ""},
    SchemaKeyword{"dependencies", ""},
    SchemaKeyword{"dependentRequired", ""},
    SchemaKeyword{"dependentSchemas", ""},
    SchemaKeyword{"deprecated", "", "", true},
    SchemaKeyword{"description", "", "", true},
    SchemaKeyword{"else", ""},
    SchemaKeyword{"enum", ""},
    SchemaKeyword{"examples", "", "", true},
    SchemaKeyword{"exclusiveMaximum", ""},
    SchemaKeyword{"exclusiveMinimum", ""},
    SchemaKeyword{"format", "", "the formats below"},
    SchemaKeyword{"if", "", kExclusive},
    SchemaKeyword{"items", ""},
    SchemaKeyword{"maxContains", kCounting},
    SchemaKeyword{"maxItems", ""},
    SchemaKeyword{"maxLength", ""},
    SchemaKeyword{"maxProperties", ""},
    SchemaKeyword{"maximum", ""},
    SchemaKeyword{"minContains", ""},
    SchemaKeyword{"minItems", ""},
    SchemaKeyword{"minLength", ""},
    SchemaKeyword{"minProperties", ""},
    SchemaKeyword{"minimum", ""},
    SchemaKeyword{"multipleOf", ""},
    SchemaKeyword{"not", "", kExclusive},
    SchemaKeyword{"nullable", R"(write "type": ["string", "null"] instead)"},
    SchemaKeyword{"oneOf", "", kExclusive},
    SchemaKeyword{"pattern", "", "without look-around, back references and \\b"},
    SchemaKeyword{"patternProperties", ""},
    SchemaKeyword{"prefixItems", ""},
    SchemaKeyword{"properties", ""},
    SchemaKeyword{"propertyNames", ""},
    SchemaKeyword{"readOnly", "", "", true},
    SchemaKeyword{"required", ""},
    SchemaKeyword{"then", ""},
    SchemaKeyword{"title", "", "", true},
    SchemaKeyword{"type", ""},
    SchemaKeyword{"unevaluatedItems", kCounting},
    SchemaKeyword{"unevaluatedProperties", "use additionalProperties"},
    SchemaKeyword{"uniqueItems", "",
                  "of items that enum, const, boolean or null leave few of: 64 values at most"},
    SchemaKeyword{"writeOnly", "", "", true},
};

}  // namespace

std::span<const SchemaKeyword> schema_keywords() {
  return kKeywords;
}

}  // namespace reelfolio::engine

namespace reelfolio::engine::constraint {

namespace {

/// The checks recurse.
constexpr int kMaxSchemaDepth = 200;
/// Levels of JSON in the whole file, values of default, const and enum included.
constexpr std::size_t kMaxNesting = 1000;
constexpr std::size_t kMaxRefusals = 1000;
constexpr std::size_t kMaxSchemas = 10000;

constexpr std::array<std::string_view, 7> kTypes = {"array",  "boolean", "integer", "null",
                                                    "number", "object",  "string"};

const SchemaKeyword* find_keyword(std::string_view name) {
  const auto found = std::find_if(kKeywords.begin(), kKeywords.end(),
                                  [&](const SchemaKeyword& each) { return each.name == name; });
  return found == kKeywords.end() ? nullptr : &*found;
}

}  // namespace

void SchemaChecker::refuse(const std::string& pointer, const std::string& message) {
  if (refusals_.size() < kMaxRefusals) refusals_.push_back({pointer, message});
}

void SchemaChecker::check() {
  const Json& root = *document_.root_;
  if (nests_deeper_than(root, kMaxNesting)) {
    throw ConstraintError({{"", "is nested more than " + std::to_string(kMaxNesting) + " levels deep"}});
  }
  if (root.is_object() && root.contains("$schema")) check_dialect(root["$schema"], "/$schema");
  visit(root, "", 0);
  resolve_references();
  if (refusals_.empty()) {
    for (const Json* schema : schemas_) check_endless(*schema);
  }
  if (!refusals_.empty()) throw ConstraintError(std::move(refusals_));
}

void SchemaChecker::visit(const Json& node, const std::string& pointer, int depth) {
  if (depth > kMaxSchemaDepth) {
    return refuse(pointer,
                  "schemas are nested more than " + std::to_string(kMaxSchemaDepth) + " levels deep");
  }
  if (!node.is_object() && !node.is_boolean())
    return refuse(pointer, "expected a schema: an object, true or false");
  if (schemas_.size() == kMaxSchemas)
    throw ConstraintError({{pointer, "more than " + std::to_string(kMaxSchemas) + " schemas"}});
  schemas_.push_back(&node);
  document_.pointers_.emplace(&node, pointer);
  if (!node.is_object()) return;
  for (const auto& [name, value] : node.items()) {
    const std::string here = pointer + "/" + pointer_step(name);
    const SchemaKeyword* keyword = find_keyword(name);
    if (keyword == nullptr) {
      refuse(here, "keyword '" + name + "' is not known");
    } else if (!keyword->refused.empty()) {
      refuse(here, "keyword '" + name + "' is not supported: " + std::string(keyword->refused));
    } else {
      visit_keyword(node, *keyword, value, here, depth);
    }
  }
  for (const char* branch : {"then", "else"}) {
    if (node.contains(branch) && !node.contains("if")) refuse(pointer + "/" + branch, "stands without 'if'");
  }
  if (node.contains("additionalItems") && !(node.contains("items") && node["items"].is_array())) {
    refuse(pointer + "/additionalItems", "stands without a list in 'items'");
  }
}

void SchemaChecker::visit_list(const Json& value, const std::string& pointer, int depth) {
  if (!value.is_array() || value.empty())
    return refuse(pointer, "expected a list of schemas that is not empty");
  for (std::size_t i = 0; i < value.size(); ++i)
    visit(value[i], pointer + "/" + std::to_string(i), depth + 1);
}

void SchemaChecker::visit_keyword(const Json& node, const SchemaKeyword& keyword, const Json& value,
                                  const std::string& here, int depth) {
  const std::string_view name = keyword.name;
  switch (keyword_value(name)) {
    case KeywordValue::count:
      // 2.0 is a count as well.
      if (!value.is_number() || !decimal(value).whole() || decimal(value).negative ||
          value.get<double>() > 1e9) {
        refuse(here, "expected a whole number from 0 to 1000000000");
      }
      return;
    case KeywordValue::number:
      if (!value.is_number()) return refuse(here, "expected a number");
      if (name == "multipleOf") {
        const Decimal number = decimal(value);
        if (number.zero() || number.negative) return refuse(here, "expected a number above 0");
        NumberRule rule;
        rule.multiple_of = number;
        if (!number_automaton(rule)) refuse(here, "a multiple of so many digits is not supported");
      }
      return;
    case KeywordValue::schema:
      return visit(value, here, depth + 1);
    case KeywordValue::schemas:
      return visit_list(value, here, depth);
    case KeywordValue::schema_or_schemas:
      if (!value.is_array()) return visit(value, here, depth + 1);
      visit_list(value, here, depth);
      if (node.contains("prefixItems")) refuse(here, "expected one schema beside prefixItems");
      return;
    case KeywordValue::schema_map:
      if (!value.is_object()) return refuse(here, "expected an object of schemas");
      for (const auto& [key, schema] : value.items()) {
        const std::string below = here + "/" + pointer_step(key);
        if (name == "patternProperties") check_pattern(key, below);
        visit(schema, below, depth + 1);
        if (name == "dependentSchemas") document_.add_dependency(node, key, {}, &schema, below);
      }
      return;
    case KeywordValue::dependencies:
    case KeywordValue::other:
      break;
  }
  if (name == "$id" || name == "$anchor") {
    if (!value.is_string()) refuse(here, "expected a string");
  } else if (name == "$schema") {
    if (here != "/$schema") refuse(here, "is supported at the top of the schema alone");
  } else if (name == "$ref") {
    check_reference(node, value, here);
  } else if (name == "type") {
    check_types(value, here);
  } else if (name == "enum") {
    if (!value.is_array()) refuse(here, "expected a list of values");
  } else if (name == "required") {
    check_names(value, here);
  } else if (name == "dependentRequired" || name == "dependencies") {
    if (!value.is_object()) return refuse(here, "expected an object");
    for (const auto& [key, needed] : value.items()) {
      const std::string below = here + "/" + pointer_step(key);
      if (needed.is_array() || name == "dependentRequired") {
        if (check_names(needed, below)) document_.add_dependency(node, key, needed, nullptr, below);
      } else {
        visit(needed, below, depth + 1);
        document_.add_dependency(node, key, {}, &needed, below);
      }
    }
  } else if (name == "uniqueItems") {
    if (!value.is_boolean()) refuse(here, "expected true or false");
  } else if (name == "pattern") {
    value.is_string() ? check_pattern(value.get<std::string>(), here) : refuse(here, "expected a string");
  } else if (name == "format") {
    if (!value.is_string()) return refuse(here, "expected a string");
    if (format_texts(value.get<std::string>()) != nullptr) return;
    std::string known;
    for (const SchemaFormat& format : schema_formats())
      known += (known.empty() ? "" : ", ") + std::string(format.name);
    refuse(here, "format '" + value.get<std::string>() + "' is not supported, expected one of " + known);
  }
}

bool SchemaChecker::check_names(const Json& value, const std::string& pointer) {
  const auto is_text = [](const Json& each) { return each.is_string(); };
  if (value.is_array() && std::all_of(value.begin(), value.end(), is_text)) return true;
  refuse(pointer, "expected a list of strings");
  return false;
}

void SchemaChecker::check_dialect(const Json& value, const std::string& pointer) {
  if (!value.is_string()) return refuse(pointer, "expected a string");
  std::string uri = value.get<std::string>();
  if (!uri.empty() && uri.back() == '#') uri.pop_back();
  draft_7_ = uri.ends_with("json-schema.org/draft-07/schema");
  if (!draft_7_ && !uri.ends_with("json-schema.org/draft/2020-12/schema")) {
    refuse(pointer, "'" + uri + "' is not supported, expected draft 7 or 2020-12");
  }
}

void SchemaChecker::check_types(const Json& value, const std::string& pointer) {
  const auto known = [](const Json& type) {
    return type.is_string() &&
           std::find(kTypes.begin(), kTypes.end(), type.get<std::string>()) != kTypes.end();
  };
  if (value.is_array() && !value.empty()) {
    for (const Json& type : value) {
      if (!known(type)) refuse(pointer, "unknown type " + type.dump());
    }
  } else if (!known(value)) {
    refuse(pointer,
           value.is_string() ? "unknown type " + value.dump() : "expected a type or a list of types");
  }
}

void SchemaChecker::check_pattern(const std::string& pattern, const std::string& pointer) {
  if (document_.patterns_.contains(pattern)) return;
  try {
    document_.patterns_.emplace(pattern, compile_pattern(pattern));
  } catch (const PatternError& error) {
    refuse(pointer, "'" + pattern + "' is no pattern that is supported here: " + error.what());
  }
}

void SchemaChecker::check_reference(const Json& node, const Json& value, const std::string& pointer) {
  if (!value.is_string()) return refuse(pointer, "expected a string");
  const std::string& text = value.get_ref<const std::string&>();
  if (!text.starts_with("#") || (text.size() > 1 && text[1] != '/')) {
    return refuse(pointer, "'" + text +
                               "' is not supported, expected a place in this document such as #/$defs/name, "
                               "an $id or an $anchor in it");
  }
  if (draft_7_) {
    // Draft 7 ignores what stands beside $ref, which nobody expects who writes it there.
    for (const auto& [name, ignored] : node.items()) {
      const SchemaKeyword* keyword = find_keyword(name);
      if (name == "$ref" || name == "$defs" || name == "definitions" ||
          (keyword != nullptr && keyword->annotation))
        continue;
      refuse(pointer.substr(0, pointer.rfind('/')) + "/" + pointer_step(name),
             "'" + name + "' beside $ref is ignored by draft 7; put both into allOf");
    }
  }
  references_.push_back({&node, pointer, text});
}

void SchemaChecker::resolve_references() {
  for (const Reference& reference : references_) {
    const std::optional<std::string> pointer = percent_decoded(std::string_view(reference.text).substr(1));
    const Json* target = pointer ? at_pointer(document_.root(), *pointer) : nullptr;
    if (target == nullptr) {
      refuse(reference.pointer, "'" + reference.text + "' is not in this document");
    } else if (!document_.pointers_.contains(target)) {
      refuse(reference.pointer, "'" + reference.text + "' is no place of a schema");
    } else {
      document_.targets_.emplace(reference.schema, target);
    }
  }
}

void SchemaChecker::check_endless(const Json& schema) {
  const auto [entry, is_new] = marks_.emplace(&schema, Mark::open);
  if (!is_new) {
    if (entry->second == Mark::open) {
      refuse(document_.pointer(schema), "applies to the value that it is applied to, without end");
    }
    return;
  }
  if (schema.is_object()) {
    if (const Json* target = document_.target(schema)) check_endless(*target);
    for (const char* keyword : {"not", "if", "then", "else"}) {
      if (schema.contains(keyword)) check_endless(schema[keyword]);
    }
    for (const char* keyword : {"allOf", "anyOf", "oneOf"}) {
      if (!schema.contains(keyword)) continue;
      for (const Json& branch : schema[keyword]) check_endless(branch);
    }
    for (const SchemaDocument::Dependency& each : document_.dependencies(schema)) {
      if (each.schema != nullptr) check_endless(*each.schema);
    }
  }
  marks_[&schema] = Mark::done;
}

}  // namespace reelfolio::engine::constraint
