#pragma once

#include <algorithm>
#include <array>
#include <string_view>

namespace reelfolio::engine::constraint {

/// What stands behind a keyword of JSON Schema, as far as it is a number or leads to further schemas.
enum class KeywordValue {
  other,
  count,
  number,
  schema,
  schemas,            ///< a list
  schema_or_schemas,  ///< either; in draft 7 a list is what `prefixItems` is now
  schema_map,         ///< an object of schemas
  dependencies        ///< an object of schemas and lists of names
};

struct KeywordValueEntry {
  std::string_view keyword;
  KeywordValue value;
};

/// Refused keywords are here as well: schemas in them can be referred to.
inline constexpr std::array kKeywordValues = {
    KeywordValueEntry{"$defs", KeywordValue::schema_map},
    KeywordValueEntry{"additionalItems", KeywordValue::schema},
    KeywordValueEntry{"additionalProperties", KeywordValue::schema},
    KeywordValueEntry{"allOf", KeywordValue::schemas},
    KeywordValueEntry{"anyOf", KeywordValue::schemas},
    KeywordValueEntry{"contains", KeywordValue::schema},
    KeywordValueEntry{"contentSchema", KeywordValue::schema},
    KeywordValueEntry{"definitions", KeywordValue::schema_map},
    KeywordValueEntry{"dependencies", KeywordValue::dependencies},
    KeywordValueEntry{"dependentSchemas", KeywordValue::schema_map},
    KeywordValueEntry{"else", KeywordValue::schema},
    KeywordValueEntry{"exclusiveMaximum", KeywordValue::number},
    KeywordValueEntry{"exclusiveMinimum", KeywordValue::number},
    KeywordValueEntry{"if", KeywordValue::schema},
    KeywordValueEntry{"items", KeywordValue::schema_or_schemas},
    KeywordValueEntry{"maxItems", KeywordValue::count},
    KeywordValueEntry{"maxLength", KeywordValue::count},
    KeywordValueEntry{"maxProperties", KeywordValue::count},
    KeywordValueEntry{"maximum", KeywordValue::number},
    KeywordValueEntry{"minContains", KeywordValue::count},
    KeywordValueEntry{"minItems", KeywordValue::count},
    KeywordValueEntry{"minLength", KeywordValue::count},
    KeywordValueEntry{"minProperties", KeywordValue::count},
    KeywordValueEntry{"minimum", KeywordValue::number},
    KeywordValueEntry{"multipleOf", KeywordValue::number},
    KeywordValueEntry{"not", KeywordValue::schema},
    KeywordValueEntry{"oneOf", KeywordValue::schemas},
    KeywordValueEntry{"patternProperties", KeywordValue::schema_map},
    KeywordValueEntry{"prefixItems", KeywordValue::schemas},
    KeywordValueEntry{"properties", KeywordValue::schema_map},
    KeywordValueEntry{"propertyNames", KeywordValue::schema},
    KeywordValueEntry{"then", KeywordValue::schema},
    KeywordValueEntry{"unevaluatedItems", KeywordValue::schema},
    KeywordValueEntry{"unevaluatedProperties", KeywordValue::schema},
};

constexpr KeywordValue keyword_value(std::string_view keyword) {
  const auto found = std::find_if(kKeywordValues.begin(), kKeywordValues.end(),
                                  [&](const KeywordValueEntry& each) { return each.keyword == keyword; });
  return found == kKeywordValues.end() ? KeywordValue::other : found->value;
}

}  // namespace reelfolio::engine::constraint
