#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "engine/constraint/constraint.h"
#include "engine/constraint/dfa.h"
#include "engine/constraint/numbers.h"

namespace reelfolio::engine::constraint {

/// Keeps the order of members.
using Json = nlohmann::ordered_json;

/// A schema whose keywords are all supported and well-formed, whose references lead to schemas
/// of the same document, and in which no schema applies to a value without end. Immutable.
class SchemaDocument {
 public:
  /// Throws ConstraintError with every refusal.
  explicit SchemaDocument(std::string_view text);
  ~SchemaDocument();

  const Json& root() const { return *root_; }
  /// The place of a schema of this document, as a JSON pointer; "" for any other.
  std::string pointer(const Json& schema) const {
    const auto found = pointers_.find(&schema);
    return found == pointers_.end() ? std::string() : found->second;
  }
  /// What the `$ref` of a schema leads to; null where it has none.
  const Json* target(const Json& schema) const;
  /// What dependentRequired, dependentSchemas or dependencies says of one key: an object without it
  /// satisfies `absent`, one with it must satisfy `present` and, unless it is null, `schema`. The first two
  /// are made here.
  struct Dependency {
    const Json* absent;
    const Json* present;
    const Json* schema;
  };
  const std::vector<Dependency>& dependencies(const Json& schema) const;
  /// Whether the schema stands in no document: one of a dependency.
  bool is_made(const Json& schema) const;
  /// The automaton of a pattern that occurs in the document.
  const Dfa& pattern(const std::string& text) const { return patterns_.at(text); }

  /// Whether `value` satisfies a schema of this document.
  bool satisfies(const Json& schema, const Json& value) const;
  /// The same, leaving out $ref, allOf, anyOf, oneOf, not, if, then and else of `schema` itself.
  bool satisfies_own(const Json& schema, const Json& value) const;

 private:
  friend class SchemaChecker;
  bool satisfies_object(const Json& schema, const Json& value) const;
  bool satisfies_array(const Json& schema, const Json& value) const;
  void add_dependency(const Json& schema, const std::string& key, const Json& required, const Json* then,
                      const std::string& pointer);

  std::unique_ptr<const Json> root_;
  std::map<const Json*, std::string> pointers_;
  std::map<const Json*, const Json*> targets_;
  std::map<std::string, Dfa> patterns_;
  std::vector<std::unique_ptr<const Json>> made_;
  std::map<const Json*, std::vector<Dependency>> dependencies_;
};

/// 1 and 1.0 are equal, and objects whatever the order of their members.
bool equal(const Json& a, const Json& b);
Decimal decimal(const Json& number);
/// Characters of a UTF-8 text.
std::size_t length_of(std::string_view text);
/// "array", "boolean", "integer" (also for 1.0), "null", "number", "object", "string".
std::string_view type_name(const Json& value);
/// Whether `type` of a schema names the type of `value`; true where there is none.
bool has_type(const Json& schema, const Json& value);
/// The bounds, `multipleOf` and "integer" of one schema.
NumberRule number_rule(const Json& schema);
/// How many items must satisfy `contains`; 0 where there is none.
std::size_t least_contained(const Json& schema);
bool wants_unique_items(const Json& schema);
/// The schema of the items behind the listed ones, and the listed ones; null where there is none.
const Json* rest_items(const Json& schema);
const Json* listed_items(const Json& schema);

}  // namespace reelfolio::engine::constraint
