#include "engine/constraint/grammar_builder.h"

#include <algorithm>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "engine/constraint/contains.h"
#include "engine/constraint/regex.h"
#include "engine/constraint/schema_branches.h"

namespace reelfolio::engine::constraint {

namespace {

constexpr std::size_t kMaxNodes = 20000;
constexpr std::size_t kMaxListed = 1000;
/// Longer ones fit no answer.
constexpr std::uint32_t kMaxShortest = 1 << 20;
/// So many keys that are all known are properties rather than a pattern.
constexpr std::size_t kMaxEnumeratedKeys = 64;

const Json& object_schema() {
  static const Json schema = {{"type", "object"}};
  return schema;
}

class Builder : private SchemaBranches {
 public:
  using SchemaBranches::SchemaBranches;

  Grammar build() {
    Conjunction root;
    if (options_.require_object) root.push_back({&object_schema(), true});
    root.push_back({&document_.root(), false});
    grammar_.max_depth = options_.max_depth;
    grammar_.root = node_of(root);
    while (!pending_.empty()) {
      const auto [node, conjunction] = std::move(pending_.front());
      pending_.pop_front();
      fill(node, conjunction);
    }
    if (!finish_grammar(grammar_)) refuse(nullptr, "no value satisfies the schema");
    if (const std::uint32_t bytes = grammar_.nodes[grammar_.root].bytes; bytes > kMaxShortest) {
      refuse(nullptr, "the shortest value takes " + std::to_string(bytes) + " bytes, expected at most " +
                          std::to_string(kMaxShortest));
    }
    for (const Exclusion& each : exclusions_) {
      const auto& alternatives = grammar_.nodes[each.both].alternatives;
      const bool overlaps = std::any_of(alternatives.begin(), alternatives.end(),
                                        [&](const Alternative& one) { return one.kind == each.kind; });
      if (!overlaps) continue;
      refuse(each.schema,
             std::string(each.kind == Alternative::Kind::array ? "an array" : "an object") +
                 " can satisfy this and another branch; whether it does cannot be decided while it is "
                 "written: make the branches exclude each other, or use anyOf");
    }
    return std::move(grammar_);
  }

 private:
  // --- Nodes -------------------------------------------------------------------------------

  NodeId add_node() {
    if (grammar_.nodes.size() >= kMaxNodes) refuse(nullptr, "the schema's grammar is too large");
    grammar_.nodes.emplace_back();
    return static_cast<NodeId>(grammar_.nodes.size() - 1);
  }

  NodeId node_of(const Conjunction& conjunction) {
    const auto found = known_.find(conjunction);
    if (found != known_.end()) return found->second;
    const NodeId node = add_node();
    known_.emplace(conjunction, node);
    pending_.emplace_back(node, conjunction);
    return node;
  }

  /// A node for one value and nothing else.
  NodeId node_of_value(const Json& value) {
    const NodeId node = add_node();
    add_values(node, {&value});
    return node;
  }

  void add_text(NodeId node, Dfa dfa) {
    if (dfa.empty()) return;
    grammar_.texts.push_back(std::move(dfa));
    grammar_.nodes[node].alternatives.push_back(
        {Alternative::Kind::text, static_cast<std::uint32_t>(grammar_.texts.size() - 1)});
  }

  void add_values(NodeId node, const std::vector<const Json*>& values) {
    std::vector<std::string> texts;
    for (const Json* value : values) {
      if (value->is_array()) {
        ArrayShape shape;
        for (const Json& item : *value) shape.prefix.push_back(node_of_value(item));
        shape.items = nothing();
        shape.min = shape.max = value->size();
        add_array(node, std::move(shape));
      } else if (value->is_object()) {
        ObjectShape shape;
        for (const auto& [name, member] : value->items()) {
          shape.properties.push_back({name, key_spelling(name), node_of_value(member), true});
        }
        shape.max = value->size();
        add_object(node, std::move(shape));
      } else if (value->is_number()) {
        texts.push_back(number_spellings(decimal(*value)).front());
      } else if (value->is_string()) {
        texts.push_back("\"" + spell(value->get<std::string>()) + "\"");
      } else {
        texts.push_back(value->dump());
      }
    }
    add_text(node, Dfa::texts(std::move(texts)));
  }

  void add_array(NodeId node, ArrayShape shape) {
    grammar_.arrays.push_back(std::move(shape));
    grammar_.nodes[node].alternatives.push_back(
        {Alternative::Kind::array, static_cast<std::uint32_t>(grammar_.arrays.size() - 1)});
  }

  void add_object(NodeId node, ObjectShape shape) {
    grammar_.objects.push_back(std::move(shape));
    grammar_.nodes[node].alternatives.push_back(
        {Alternative::Kind::object, static_cast<std::uint32_t>(grammar_.objects.size() - 1)});
  }

  /// The node of no value.
  NodeId nothing() {
    if (!nothing_) nothing_ = add_node();
    return *nothing_;
  }

  static std::string key_spelling(const std::string& name) { return "\"" + spell(name) + "\":"; }

  // --- One node ----------------------------------------------------------------------------

  void fill(NodeId node, const Conjunction& conjunction) {
    for (const Branch& branch : branches(conjunction)) {
      if (const auto values = listed_values(branch)) {
        add_values(node, *values);
        continue;
      }
      static const Json kLiterals = {nullptr, true, false};
      std::vector<const Json*> literals;
      for (const Json& each : kLiterals) {
        if (holds(branch, each)) literals.push_back(&each);
      }
      add_values(node, literals);
      add_text(node, numbers(branch));
      if (auto shape = string_shape(branch)) add_string(node, std::move(*shape));
      fill_array(node, branch);
      fill_object(node, branch);
    }
  }

  // --- Strings -----------------------------------------------------------------------------

  void add_string(NodeId node, StringShape shape) {
    if (!shape.finish()) return;
    if (!shape.free) {
      // A pattern may ask for more than the cap.
      shape.max_chars = std::max(shape.max_chars, std::size_t{shape.rest_chars[shape.content.start()]});
    }
    grammar_.nodes[node].alternatives.push_back(
        {Alternative::Kind::string, add_string_shape(std::move(shape))});
  }

  std::uint32_t add_string_shape(StringShape shape) {
    grammar_.strings.push_back(std::move(shape));
    return static_cast<std::uint32_t>(grammar_.strings.size() - 1);
  }

  // --- Exclusion ---------------------------------------------------------------------------

  static bool says_nothing(const Branch& branch, std::initializer_list<const char*> keywords) {
    return branch.excluded.empty() &&
           std::none_of(branch.parts.begin(), branch.parts.end(), [&](const Part& part) {
             return std::any_of(keywords.begin(), keywords.end(),
                                [&](const char* keyword) { return part.schema->contains(keyword); });
           });
  }

  /// Whether the excluded schemas leave arrays (objects) to the branch at all. Where one might apply
  /// to some, it is noted that none may satisfy both.
  bool leaves(const Branch& branch, Alternative::Kind kind) {
    const bool is_array = kind == Alternative::Kind::array;
    for (const Json* schema : branch.excluded) {
      bool meets = false;
      for (const Branch& other : branches({{schema, false}})) {
        const auto values = listed_values(other);
        if (values) {
          meets = meets || std::any_of(values->begin(), values->end(), [&](const Json* value) {
                    return is_array ? value->is_array() : value->is_object();
                  });
          continue;
        }
        if (!allows(other, is_array ? "array" : "object")) continue;
        meets = true;
        const bool takes_all =
            is_array
                ? says_nothing(other, {"items", "prefixItems", "additionalItems", "minItems", "maxItems"})
                : says_nothing(other, {"properties", "required", "additionalProperties", "patternProperties",
                                       "propertyNames", "minProperties", "maxProperties"});
        if (takes_all) return false;
      }
      if (!meets) continue;
      Conjunction both = branch.parts;
      both.push_back({schema, false});
      exclusions_.push_back({node_of(both), kind, schema});
    }
    return true;
  }

  // --- Arrays ------------------------------------------------------------------------------

  void fill_array(NodeId node, const Branch& branch) {
    if (!allows(branch, "array") || !leaves(branch, Alternative::Kind::array)) return;
    ArrayShape shape;
    shape.min = limit(branch, "minItems", true, 0).value;
    shape.max = limit(branch, "maxItems", false, static_cast<std::size_t>(-1)).value;
    std::size_t listed = 0;
    for (const Part& part : branch.parts) {
      if (const Json* items = listed_items(*part.schema)) listed = std::max(listed, items->size());
    }
    if (listed > kMaxListed)
      refuse(branch.parts.front().schema, "more than " + std::to_string(kMaxListed) + " listed items");
    for (std::size_t i = 0; i <= listed; ++i) {
      Conjunction item;
      for (const Part& part : branch.parts) {
        const Json* items = listed_items(*part.schema);
        const Json* rest = rest_items(*part.schema);
        if (items != nullptr && i < items->size()) {
          item.push_back({&(*items)[i], false});
        } else if (rest != nullptr) {
          item.push_back({rest, false});
        }
      }
      const NodeId below = node_of(item);
      if (i < listed) {
        shape.prefix.push_back(below);
      } else {
        shape.items = below;
        set_contained(branch, item, listed > 0, shape);
        set_unique(branch, item, listed > 0, shape);
      }
    }
    add_array(node, std::move(shape));
  }

  /// `item`: the schemas of each item.
  void set_contained(const Branch& branch, Conjunction item, bool is_listed, ArrayShape& shape) {
    for (const Part& part : branch.parts) {
      const Json& schema = *part.schema;
      const std::size_t least = least_contained(schema);
      if (least == 0) continue;
      if (is_listed) refuse(schema, "contains", "is not supported beside a list of items");
      if (shape.min_contained > 0) refuse(schema, "contains", "is not supported twice for the same array");
      item.push_back({&schema["contains"], false});
      shape.contained = node_of(item);
      shape.min_contained = least;
    }
  }

  void set_unique(const Branch& branch, const Conjunction& item, bool is_listed, ArrayShape& shape) {
    const auto wants = std::find_if(branch.parts.begin(), branch.parts.end(),
                                    [](const Part& part) { return wants_unique_items(*part.schema); });
    if (wants == branch.parts.end() || shape.max <= 1) return;
    const Json& schema = *wants->schema;
    if (is_listed) refuse(schema, "uniqueItems", "is not supported beside a list of items");
    if (shape.min_contained > 0) refuse(schema, "uniqueItems", "is not supported beside contains");
    const auto values = every_value(item);
    if (!values || values->size() > kMaxUniqueItems) {
      refuse(schema, "uniqueItems",
             "is not supported here: an automaton cannot look back on the items, unless enum, const, boolean "
             "or null leave " +
                 std::to_string(kMaxUniqueItems) + " values at most");
    }
    for (const Json* value : *values) shape.unique.push_back(node_of_value(*value));
  }

  // --- Objects -----------------------------------------------------------------------------

  /// The schemas of the member `name`; `patterns` are those that match it.
  template <class Matches>
  Conjunction member(const Branch& branch, const std::string* name, Matches matches) const {
    Conjunction found;
    for (const Part& part : branch.parts) {
      const Json& schema = *part.schema;
      bool is_additional = true;
      if (name != nullptr && schema.contains("properties")) {
        const auto at = schema["properties"].find(*name);
        if (at != schema["properties"].end()) {
          found.push_back({&*at, false});
          is_additional = false;
        }
      }
      if (schema.contains("patternProperties")) {
        for (const auto& [pattern, below] : schema["patternProperties"].items()) {
          if (!matches(pattern)) continue;
          found.push_back({&below, false});
          is_additional = false;
        }
      }
      if (is_additional && schema.contains("additionalProperties")) {
        found.push_back({&schema["additionalProperties"], false});
      }
    }
    return found;
  }

  static bool is_false(const Conjunction& conjunction) {
    return std::any_of(conjunction.begin(), conjunction.end(), [](const Part& part) {
      return part.schema->is_boolean() && !part.schema->template get<bool>();
    });
  }

  bool may_be_named(const Branch& branch, const std::string& name) const {
    const Json text = name;
    return std::all_of(branch.parts.begin(), branch.parts.end(), [&](const Part& part) {
      return !part.schema->contains("propertyNames") ||
             document_.satisfies((*part.schema)["propertyNames"], text);
    });
  }

  /// Where the option asks for it: properties are listed and nothing is said of others.
  bool is_closed(const Branch& branch) const {
    if (!options_.closed_objects) return false;
    bool lists = false;
    for (const Part& part : branch.parts) {
      lists = lists || (part.schema->contains("properties") && !document_.is_made(*part.schema));
      if (part.schema->contains("additionalProperties") || part.schema->contains("patternProperties"))
        return false;
    }
    return lists;
  }

  void fill_object(NodeId node, const Branch& branch) {
    if (!allows(branch, "object") || !leaves(branch, Alternative::Kind::object)) return;
    ObjectShape shape;
    shape.min = limit(branch, "minProperties", true, 0).value;
    shape.max = limit(branch, "maxProperties", false, static_cast<std::size_t>(-1)).value;
    std::vector<std::string> names;
    std::map<std::string, bool> required;
    const auto note = [&](const std::string& name, bool is_required) {
      const auto [entry, is_new] = required.try_emplace(name, is_required);
      if (is_new) names.push_back(name);
      entry->second = entry->second || is_required;
    };
    for (const Part& part : branch.parts) {
      if (!part.schema->contains("properties")) continue;
      for (const auto& [name, ignored] : (*part.schema)["properties"].items()) note(name, false);
    }
    for (const Part& part : branch.parts) {
      if (!part.schema->contains("required")) continue;
      for (const Json& name : (*part.schema)["required"]) note(name.get<std::string>(), true);
    }
    for (const std::string& name : names) {
      const auto matches = [&](const std::string& pattern) {
        return document_.pattern(pattern).admits(name);
      };
      const NodeId below = may_be_named(branch, name) ? node_of(member(branch, &name, matches)) : nothing();
      shape.properties.push_back({name, key_spelling(name), below, required[name]});
      shape.taken.push_back(spell(name));
    }
    if (!is_closed(branch)) add_additional(branch, shape);
    std::sort(shape.taken.begin(), shape.taken.end());
    add_object(node, std::move(shape));
  }

  void add_additional(const Branch& branch, ObjectShape& shape) {
    std::vector<std::string> patterns;
    Dfa keys = any_text();
    bool is_any = true;
    const Json* origin = branch.parts.empty() ? nullptr : branch.parts.front().schema;
    for (const Part& part : branch.parts) {
      const Json& schema = *part.schema;
      if (schema.contains("propertyNames")) {
        keys = joined(keys, strings_of(schema["propertyNames"]), Dfa::Join::both, &schema);
        is_any = false;
      }
      if (!schema.contains("patternProperties")) continue;
      for (const auto& [pattern, ignored] : schema["patternProperties"].items()) {
        if (!contains(patterns, pattern)) patterns.push_back(pattern);
      }
    }
    split_keys(branch, shape, patterns, {}, std::move(keys), is_any && patterns.empty(), origin);
  }

  /// Tells keys apart by which of the patterns they match: `matched` of those already looked at.
  void split_keys(const Branch& branch, ObjectShape& shape, const std::vector<std::string>& patterns,
                  std::vector<bool> matched, Dfa keys, bool is_any, const Json* origin) {
    if (keys.empty()) return;
    if (matched.size() < patterns.size()) {
      const Dfa& pattern = document_.pattern(patterns[matched.size()]);
      for (const bool matches : {true, false}) {
        std::vector<bool> next = matched;
        next.push_back(matches);
        split_keys(branch, shape, patterns, std::move(next),
                   joined(keys, pattern, matches ? Dfa::Join::both : Dfa::Join::first_only, origin), false,
                   origin);
      }
      return;
    }
    const auto matches = [&](const std::string& pattern) {
      const auto at = std::find(patterns.begin(), patterns.end(), pattern) - patterns.begin();
      return static_cast<bool>(matched[static_cast<std::size_t>(at)]);
    };
    const Conjunction below = member(branch, nullptr, matches);
    if (is_false(below)) return;
    const NodeId node = node_of(below);
    if (!keys.infinite()) {
      const std::vector<std::string> words = keys.words(keys.start(), kMaxEnumeratedKeys + 1);
      if (words.size() <= kMaxEnumeratedKeys) {
        for (const std::string& name : words) {
          const std::string spelled = spell(name);
          if (contains(shape.taken, spelled)) continue;
          shape.properties.push_back({name, key_spelling(name), node, false});
          shape.taken.push_back(spelled);
        }
        return;
      }
    }
    StringShape text;
    text.content = std::move(keys);
    text.free = is_any;
    text.escapes = Escapes::needed;
    text.max_chars = options_.max_string_chars;
    text.finish();
    text.rest_texts = text.content.word_counts();
    text.max_chars = std::max(text.max_chars, std::size_t{text.rest_chars[text.content.start()]});
    // A key that is free is among the first few, however many are taken.
    std::uint32_t longest = 0;
    for (const std::string& word : text.content.words(
             text.content.start(), shape.taken.size() + std::min<std::size_t>(shape.min, 1000) + 1)) {
      longest = std::max(longest, static_cast<std::uint32_t>(spell(word).size()));
    }
    shape.additional.push_back({add_string_shape(std::move(text)), node, longest + 2});
  }

  struct Exclusion {
    NodeId both;
    Alternative::Kind kind;
    const Json* schema;
  };

  Grammar grammar_;
  std::map<Conjunction, NodeId> known_;
  std::deque<std::pair<NodeId, Conjunction>> pending_;
  std::vector<Exclusion> exclusions_;
  std::optional<NodeId> nothing_;
};

}  // namespace

Grammar build_grammar(const SchemaDocument& document, const ConstraintOptions& options) {
  return Builder(document, options).build();
}

}  // namespace reelfolio::engine::constraint
