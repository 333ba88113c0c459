#pragma once

#include <memory>
#include <string>
#include <vector>

#include "stages/record.h"

namespace reelfolio::stages {

/// Checks values against a JSON Schema (the keywords of json_schema.h), by walking schema and value
/// together. Knows nothing of how answers are constrained: what it says of them is a second
/// opinion. Immutable; any thread may use it.
class SchemaValidator {
 public:
  /// `schema` has passed schema_problem(). Compiles its regular expressions.
  explicit SchemaValidator(const Json& schema);
  SchemaValidator(SchemaValidator&&) noexcept;
  SchemaValidator& operator=(SchemaValidator&&) noexcept;
  ~SchemaValidator();

  /// What is wrong with `value`: "/lines/0/amount: is a string, expected a number", "the object:
  /// lacks 'total'", in the order of the schema's keywords by name; empty if it is valid. Of the
  /// alternatives of anyOf and oneOf none is explained. 100 errors at most.
  ///
  /// Numbers are compared as numbers, so that 1.0 is an integer and equals 1; objects without regard
  /// to the order of their keys. A check that takes over a million steps (schemas that refer to
  /// each other can ask for any number) ends with an error that says so.
  std::vector<std::string> errors(const Json& value) const;

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

}  // namespace reelfolio::stages
