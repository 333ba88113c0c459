#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/constraint/constraint.h"
#include "engine/constraint/grammar.h"
#include "engine/constraint/schema_document.h"

namespace reelfolio::engine::constraint {

/// A schema that applies, or the keywords of it that are its own alone: without $ref, allOf,
/// anyOf, oneOf, not and if, which a branch has resolved.
struct Part {
  const Json* schema;
  bool own;
  friend bool operator<(const Part& a, const Part& b) {
    return a.schema != b.schema ? a.schema < b.schema : a.own < b.own;
  }
  friend bool operator==(const Part& a, const Part& b) { return a.schema == b.schema && a.own == b.own; }
};
/// Schemas that all apply, in the order in which their properties stand.
using Conjunction = std::vector<Part>;

/// One way through the choices of a conjunction.
struct Branch {
  Conjunction parts;                  ///< own keywords alone
  std::vector<const Json*> excluded;  ///< schemas that must not apply
};

/// Takes conjunctions of schemas apart into branches, and says which texts and numbers a branch
/// admits. Borrows document and options. Its members throw ConstraintError where an automaton would be
/// too large or branches too many.
class SchemaBranches {
 public:
  SchemaBranches(const SchemaDocument& document, const ConstraintOptions& options)
      : document_(document), options_(options) {}

  std::vector<Branch> branches(const Conjunction& conjunction) const;

  /// Whether a branch admits `value`.
  bool holds(const Branch& branch, const Json& value) const;
  /// The values of enum or const that are left; absent where the branch has neither.
  std::optional<std::vector<const Json*>> listed_values(const Branch& branch) const;
  /// Values that together are all that satisfy the schemas, where enum, const or types leave nothing but
  /// such; absent where they do not.
  std::optional<std::vector<const Json*>> every_value(const Conjunction& conjunction) const;
  /// Whether `type` is allowed by all parts; "number" not by parts that say "integer".
  static bool allows(const Branch& branch, std::string_view type);

  /// The largest (smallest) value of a keyword, and whose it is.
  struct Limit {
    std::size_t value;
    const Json* schema = nullptr;
  };
  static Limit limit(const Branch& branch, const char* keyword, bool largest, std::size_t otherwise);

  /// Spellings of the numbers of a branch without listed values.
  Dfa numbers(const Branch& branch) const { return numbers(branch, false); }
  /// The strings of a branch without listed values, not finished; absent where there are none.
  std::optional<StringShape> string_shape(const Branch& branch) const;
  /// Contents of all strings that a schema admits.
  Dfa strings_of(const Json& schema) const;

  /// Refuses at `schema` where the automaton is too large.
  Dfa joined(const Dfa& a, const Dfa& b, Dfa::Join how, const Json* schema) const;
  /// Throws ConstraintError with the place of `schema`; null is the whole.
  [[noreturn]] void refuse(const Json* schema, const std::string& message) const;
  /// The same with the place of one of its keywords.
  [[noreturn]] void refuse(const Json& schema, const std::string& keyword, const std::string& message) const;

 protected:
  const SchemaDocument& document_;
  const ConstraintOptions& options_;

 private:
  struct Option;
  struct Expansion;
  using Choice = std::vector<Option>;

  void expand(Expansion at, std::vector<Branch>& found, const Json* origin) const;
  void add_combinations(const Json& schema, Expansion& at) const;
  Dfa number_dfa(const NumberRule& rule, const Json* schema) const;
  /// every_spelling: to be taken away from others.
  Dfa numbers(const Branch& branch, bool every_spelling) const;
  Dfa numbers_of(const Json& schema) const;
  Dfa lengths(std::size_t least, std::optional<std::size_t> most, const Json* schema) const;
};

}  // namespace reelfolio::engine::constraint
