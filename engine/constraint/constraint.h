#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

/// What an answer may be: a JSON value that a schema admits, one of some texts, a number.
/// Request::constraint holds one; the engine then takes no token that leads out of it.
namespace reelfolio::engine {

namespace constraint {
class Automaton;
}

struct ConstraintOptions {
  /// The value must be an object, also where the schema does not say so.
  bool require_object = false;
  /// An object schema with `properties` and without `additionalProperties` takes the listed ones
  /// alone. JSON Schema itself lets any others in, which invites a model to invent some.
  bool closed_objects = false;
  /// Longest string, in characters, where the schema sets no maxLength or a larger one.
  std::size_t max_string_chars = 2000;
  /// Arrays and objects within each other at most.
  std::size_t max_depth = 64;
};

/// A keyword that is not supported, or whose value is wrong.
struct SchemaRefusal {
  std::string pointer;  ///< its place in the schema, "/properties/total/contains"; "" is the whole
  std::string message;  ///< "keyword 'contains' is not supported"
};

/// A schema that cannot be compiled: refusals() is never empty. what() is the first of
/// them, "#/properties/total/contains: keyword 'contains' is not supported".
class ConstraintError : public std::runtime_error {
 public:
  explicit ConstraintError(std::vector<SchemaRefusal> refusals);
  const std::vector<SchemaRefusal>& refusals() const { return refusals_; }

 private:
  std::vector<SchemaRefusal> refusals_;
};

/// A keyword and how the compiler takes it, for documentation.
struct SchemaKeyword {
  std::string_view name;
  /// Empty: supported. Otherwise why it is refused.
  std::string_view refused;
  /// Supported: where not. Empty: everywhere.
  std::string_view limits{};
  /// It says nothing about values (title, description, ...).
  bool annotation = false;
};

/// The texts an answer may be, compiled to an automaton over bytes. Immutable, and independent
/// of any model; every member may be called from any thread at once. Compile once and share.
///
/// A JSON value is written in one way: no white space but single spaces behind ',' and ':'
/// (throughout or nowhere, as the first of them has it), the properties in the schema's order and
/// additional ones behind them, none twice; no escapes in keys, enum and const but the necessary
/// ones; integers without a fraction, numbers without a plus sign or leading zeros. Any
/// string that JSON can hold has a spelling. Whole numbers have at most 18 digits.
class Constraint {
 public:
  /// `schema`: a JSON Schema of draft 7 or 2020-12. Keywords are supported or refused, see
  /// schema_keywords(); none is ignored. Throws ConstraintError with all refusals, and one with an
  /// empty pointer where the text is no JSON or no value satisfies the schema.
  static std::shared_ptr<const Constraint> json_schema(std::string_view schema,
                                                       const ConstraintOptions& options = {});
  /// The answer is one of these texts, as it stands. Throws ConstraintError where the list is empty,
  /// or a text is empty, no UTF-8, or has white space at an end (which answers lose).
  static std::shared_ptr<const Constraint> choices(std::span<const std::string> texts);
  enum class PlainType { integer, number, boolean };
  /// A bare "42", "-0.5" or "true".
  static std::shared_ptr<const Constraint> plain(PlainType type);

  ~Constraint();
  Constraint(const Constraint&) = delete;
  Constraint& operator=(const Constraint&) = delete;

  /// Whether the answer may be exactly this text.
  bool admits(std::string_view text) const;
  /// The same for a JSON value in any spelling: keys in any order, any white space and escapes,
  /// 1.0 for 1. Throws std::invalid_argument where `json` is not JSON.
  bool admits_value(std::string_view json) const;
  /// An answer that is as short as can be (nearly: see Automaton::complete).
  const std::string& shortest() const;

  /// For the engine.
  const constraint::Automaton& automaton() const { return *automaton_; }

 private:
  explicit Constraint(std::unique_ptr<const constraint::Automaton> automaton);
  std::unique_ptr<const constraint::Automaton> automaton_;
  std::string shortest_;
};

/// Every keyword that the compiler knows, by name. Any other is refused as unknown.
std::span<const SchemaKeyword> schema_keywords();
/// A value of `format` that is supported, and what of it is not.
struct SchemaFormat {
  std::string_view name;
  std::string_view limits;
};
std::span<const SchemaFormat> schema_formats();

}  // namespace reelfolio::engine
