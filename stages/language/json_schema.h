#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "stages/record.h"

namespace reelfolio::stages {

/// A JSON Schema (draft 7 or 2020-12 spelling, of what both share) that describes one
/// object. Immutable; any thread may use it.
///
/// Supported: type, enum, const, properties, required, additionalProperties,
/// patternProperties, propertyNames, min/maxProperties, dependentRequired, dependentSchemas, dependencies,
/// prefixItems, items (a list of them too), additionalItems, min/maxItems, uniqueItems, contains,
/// min/maxContains, min/maxLength, pattern (ECMAScript, matched over UTF-8 bytes),
/// format (date, time, date-time, email, uuid, uri), minimum, maximum, exclusiveMinimum and
/// exclusiveMaximum (numbers), multipleOf (up to 16 digits), allOf, anyOf, oneOf, not, if/then/else, $ref
/// within the document, by $id and $anchor too, $defs, definitions; and title, description, default,
/// examples, $comment, $schema, deprecated, readOnly, writeOnly, which constrain nothing. Any other
/// keyword is refused, so that nothing is left unchecked in silence. What the engine can hold answers to
/// (engine/constraint/constraint.h) is all supported here.
class JsonSchema {
 public:
  /// Reads and checks a schema file. Throws ParamError about `param`, naming the file and
  /// the place in it as a JSON pointer ("invoice.json#/properties/total: ..."). Opens no
  /// other file, whatever the schema refers to.
  static JsonSchema load(const std::filesystem::path& file, const std::string& param);
  /// The same from memory; `name` is how messages call it.
  static JsonSchema parse(std::string_view text, const std::string& name, const std::string& param);

  JsonSchema(JsonSchema&&) noexcept;
  JsonSchema& operator=(JsonSchema&&) noexcept;
  ~JsonSchema();

  /// The form that prompts show: the fields in the schema's order, with their types and
  /// descriptions, as a JSON sketch:
  ///
  ///   {
  ///     "number": string,  // the invoice number
  ///     "currency": "EUR" | "USD",
  ///     "due": string (date, YYYY-MM-DD) | null,
  ///     "lines": [  // one for each line
  ///       {
  ///         "amount": number  // optional
  ///       }
  ///     ]
  ///   }
  ///
  /// A schema that refers to itself is unrolled twice and then shown as "..."
  std::string sketch() const;

  /// What is wrong with `value`, as "/lines/0/amount: ..." (schema_validator.h); empty if it is
  /// valid.
  std::vector<std::string> errors(const Json& value) const;

  /// The schema as it is written, checked, its references pointers ("#/$defs/line"). Lives as long as this
  /// object.
  const Json& document() const;

  /// `value` with the keys of each object in the order of the schema's properties; keys
  /// that the schema does not list follow as they came.
  Json ordered(const Json& value) const;

 private:
  struct Impl;
  explicit JsonSchema(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

}  // namespace reelfolio::stages
