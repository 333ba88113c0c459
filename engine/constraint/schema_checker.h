#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/constraint/schema_document.h"

namespace reelfolio::engine::constraint {

/// Walks all schemas of a document, notes what the document needs to know of them and
/// collects what is wrong. One use.
class SchemaChecker {
 public:
  explicit SchemaChecker(SchemaDocument& document) : document_(document) {}
  /// Throws ConstraintError where anything is wrong.
  void check();

 private:
  void refuse(const std::string& pointer, const std::string& message);
  void visit(const Json& node, const std::string& pointer, int depth);
  void visit_keyword(const Json& node, const SchemaKeyword& keyword, const Json& value,
                     const std::string& pointer, int depth);
  void visit_list(const Json& value, const std::string& pointer, int depth);
  /// True: a list of strings.
  bool check_names(const Json& value, const std::string& pointer);
  void check_types(const Json& value, const std::string& pointer);
  void check_dialect(const Json& value, const std::string& pointer);
  void check_pattern(const std::string& pattern, const std::string& pointer);
  void check_reference(const Json& node, const Json& value, const std::string& pointer);
  void resolve_references();
  /// Whether schemas that apply to the same value lead from `schema` back to it.
  void check_endless(const Json& schema);

  SchemaDocument& document_;
  std::vector<SchemaRefusal> refusals_;
  bool draft_7_ = false;
  struct Reference {
    const Json* schema;
    std::string pointer;
    std::string text;
  };
  std::vector<Reference> references_;
  std::vector<const Json*> schemas_;  ///< in the order of the document
  enum class Mark { open, done };
  std::map<const Json*, Mark> marks_;
};

}  // namespace reelfolio::engine::constraint
