#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stages/language/json_schema.h"
#include "stages/record.h"

namespace reelfolio::stages {

/// How one field of several values becomes one.
enum class MergeRule {
  first,    ///< the first that is there
  longest,  ///< the longest text, the list of most items; of equals the first
  list,     ///< lists joined in order; what is no list as `first`
  vote,     ///< what stands in most of them; of equals the first
};
std::optional<MergeRule> merge_rule(std::string_view name);

/// Merges the values that one schema describes, field by field. A field is there where it is
/// neither null nor an empty text, list or object. Fields of objects within the object are
/// fields of their own, named as "seller/name"; lists are merged as a whole. Texts are
/// compared with white space folded.
///
/// Immutable; any thread may use it. Borrows the schema.
class ValueMerge {
 public:
  /// `fields`: paths and rules that differ from `rule`. Throws ParamError about `param` for a
  /// path that the schema does not have, a rule that does not exist, and `list` for a field
  /// that cannot be a list.
  ValueMerge(const JsonSchema& schema, MergeRule rule,
             const std::vector<std::pair<std::string, std::string>>& fields, const std::string& param);

  struct Source {
    int number = 0;               ///< of the page that it comes from
    const Json* value = nullptr;  ///< an object; borrowed
  };
  struct Result {
    Json value = Json::object();  ///< keys in the schema's order
    /// Path of each field that is there -> numbers of the sources that say so, ascending.
    Json evidence = Json::object();
    /// Path of each field (of no list) on which sources differ -> [{"value", "pages"}], the
    /// different values as they first appear.
    Json conflicts = Json::object();
  };
  Result merge(std::span<const Source> sources) const;

 private:
  Json merge_objects(const Json& node, std::span<const Source> sources, const std::string& path,
                     Result& result) const;
  Json merge_field(const Json& node, std::span<const Source> found, const std::string& path,
                   Result& result) const;
  /// The schema of a field; null if it is not listed.
  const Json* field_schema(const Json& node, const std::string& name) const;

  const JsonSchema& schema_;
  MergeRule rule_;
  std::map<std::string, MergeRule> fields_;
};

/// `value` with white space of its texts folded, as text: equal for values that merging takes for
/// equal.
std::string folded_value(const Json& value);

}  // namespace reelfolio::stages
