#include "engine/constraint/schema_branches.h"

#include <algorithm>
#include <deque>
#include <nlohmann/json.hpp>
#include <utility>

#include "engine/constraint/contains.h"
#include "engine/constraint/formats.h"
#include "engine/constraint/regex.h"

namespace reelfolio::engine::constraint {

namespace {

constexpr std::size_t kMaxBranches = 2000;

}  // namespace

/// What an option of a choice brings.
struct SchemaBranches::Option {
  std::vector<const Json*> applies;
  std::vector<const Json*> excluded;
};

struct SchemaBranches::Expansion {
  std::deque<Part> work;
  std::vector<const Json*> expanded;
  std::deque<Choice> choices;
  Branch branch;
};

void SchemaBranches::refuse(const Json* schema, const std::string& message) const {
  throw ConstraintError({{schema != nullptr ? document_.pointer(*schema) : std::string(), message}});
}

void SchemaBranches::refuse(const Json& schema, const std::string& keyword,
                            const std::string& message) const {
  throw ConstraintError({{document_.pointer(schema) + "/" + keyword, message}});
}

std::vector<Branch> SchemaBranches::branches(const Conjunction& conjunction) const {
  Expansion start;
  start.work.assign(conjunction.begin(), conjunction.end());
  std::vector<Branch> found;
  expand(std::move(start), found, conjunction.empty() ? nullptr : conjunction.front().schema);
  return found;
}

void SchemaBranches::expand(Expansion at, std::vector<Branch>& found, const Json* origin) const {
  while (!at.work.empty()) {
    const Part part = at.work.front();
    at.work.pop_front();
    const Json& schema = *part.schema;
    if (schema.is_boolean()) {
      if (!schema.get<bool>()) return;
      continue;
    }
    if (!contains(at.branch.parts, Part{&schema, true})) at.branch.parts.push_back({&schema, true});
    if (part.own || contains(at.expanded, &schema)) continue;
    at.expanded.push_back(&schema);
    add_combinations(schema, at);
  }
  if (at.choices.empty()) {
    if (found.size() >= kMaxBranches) {
      refuse(origin, "more than " + std::to_string(kMaxBranches) + " combinations of branches");
    }
    found.push_back(std::move(at.branch));
    return;
  }
  const Choice choice = std::move(at.choices.front());
  at.choices.pop_front();
  for (const Option& option : choice) {
    Expansion next = at;
    for (const Json* schema : option.applies) next.work.push_back({schema, false});
    next.branch.excluded.insert(next.branch.excluded.end(), option.excluded.begin(), option.excluded.end());
    expand(std::move(next), found, origin);
  }
}

void SchemaBranches::add_combinations(const Json& schema, Expansion& at) const {
  std::vector<Part> next;
  if (const Json* target = document_.target(schema)) next.push_back({target, false});
  if (schema.contains("allOf")) {
    for (const Json& each : schema["allOf"]) next.push_back({&each, false});
  }
  at.work.insert(at.work.begin(), next.begin(), next.end());
  if (schema.contains("anyOf")) {
    Choice choice;
    for (const Json& each : schema["anyOf"]) choice.push_back({{&each}, {}});
    at.choices.push_back(std::move(choice));
  }
  if (schema.contains("oneOf")) {
    Choice choice;
    for (const Json& each : schema["oneOf"]) {
      Option option{{&each}, {}};
      for (const Json& other : schema["oneOf"]) {
        if (&other != &each) option.excluded.push_back(&other);
      }
      choice.push_back(std::move(option));
    }
    at.choices.push_back(std::move(choice));
  }
  for (const SchemaDocument::Dependency& each : document_.dependencies(schema)) {
    Option present{{each.present}, {}};
    if (each.schema != nullptr) present.applies.push_back(each.schema);
    at.choices.push_back({Option{{each.absent}, {}}, std::move(present)});
  }
  if (schema.contains("not")) at.branch.excluded.push_back(&schema["not"]);
  if (schema.contains("if")) {
    Option then{{&schema["if"]}, {}};
    Option otherwise{{}, {&schema["if"]}};
    if (schema.contains("then")) then.applies.push_back(&schema["then"]);
    if (schema.contains("else")) otherwise.applies.push_back(&schema["else"]);
    if (then.applies.size() + otherwise.applies.size() > 1) at.choices.push_back({then, otherwise});
  }
}

bool SchemaBranches::holds(const Branch& branch, const Json& value) const {
  return std::all_of(branch.parts.begin(), branch.parts.end(),
                     [&](const Part& part) { return document_.satisfies_own(*part.schema, value); }) &&
         std::none_of(branch.excluded.begin(), branch.excluded.end(),
                      [&](const Json* schema) { return document_.satisfies(*schema, value); });
}

/// The values of enum or const that are left; absent where the branch has neither.
std::optional<std::vector<const Json*>> SchemaBranches::listed_values(const Branch& branch) const {
  std::vector<const Json*> values;
  bool is_listed = false;
  for (const Part& part : branch.parts) {
    const Json& schema = *part.schema;
    if (schema.contains("const")) {
      values = {&schema["const"]};
    } else if (schema.contains("enum")) {
      values.clear();
      for (const Json& each : schema["enum"]) values.push_back(&each);
    } else {
      continue;
    }
    is_listed = true;
    break;
  }
  if (!is_listed) return std::nullopt;
  std::vector<const Json*> kept;
  for (const Json* value : values) {
    const bool is_known =
        std::any_of(kept.begin(), kept.end(), [&](const Json* other) { return equal(*other, *value); });
    if (!is_known && holds(branch, *value)) kept.push_back(value);
  }
  return kept;
}

std::optional<std::vector<const Json*>> SchemaBranches::every_value(const Conjunction& conjunction) const {
  static const Json kLiterals = {nullptr, true, false};
  std::vector<const Json*> all;
  for (const Branch& branch : branches(conjunction)) {
    std::vector<const Json*> values;
    if (const auto listed = listed_values(branch)) {
      values = *listed;
    } else {
      for (const char* type : {"string", "number", "integer", "array", "object"}) {
        if (allows(branch, type)) return std::nullopt;
      }
      for (const Json& each : kLiterals) {
        if (holds(branch, each)) values.push_back(&each);
      }
    }
    for (const Json* value : values) {
      const bool is_known =
          std::any_of(all.begin(), all.end(), [&](const Json* other) { return equal(*other, *value); });
      if (!is_known) all.push_back(value);
    }
  }
  return all;
}

bool SchemaBranches::allows(const Branch& branch, std::string_view type) {
  return std::all_of(branch.parts.begin(), branch.parts.end(), [&](const Part& part) {
    const auto types = part.schema->find("type");
    if (types == part.schema->end()) return true;
    const auto matches = [&](const Json& each) { return each.get_ref<const std::string&>() == type; };
    return types->is_string() ? matches(*types) : std::any_of(types->begin(), types->end(), matches);
  });
}

SchemaBranches::Limit SchemaBranches::limit(const Branch& branch, const char* keyword, bool largest,
                                            std::size_t otherwise) {
  Limit found{otherwise, nullptr};
  for (const Part& part : branch.parts) {
    const auto at = part.schema->find(keyword);
    if (at == part.schema->end()) continue;
    const auto value = at->get<std::size_t>();
    if (found.schema == nullptr || (largest ? value > found.value : value < found.value))
      found = {value, part.schema};
  }
  return found;
}

Dfa SchemaBranches::joined(const Dfa& a, const Dfa& b, Dfa::Join how, const Json* schema) const {
  std::optional<Dfa> result = Dfa::join(a, b, how, kMaxDfaStates);
  if (!result) refuse(schema, "these conditions together make too large an automaton");
  return std::move(*result);
}

Dfa SchemaBranches::number_dfa(const NumberRule& rule, const Json* schema) const {
  std::optional<Dfa> dfa = number_automaton(rule);
  if (!dfa) refuse(schema, "the bounds and multiples make too large an automaton");
  return std::move(*dfa);
}

/// every_spelling: to be taken away from others.
Dfa SchemaBranches::numbers(const Branch& branch, bool every_spelling) const {
  NumberRule rule;
  rule.every_spelling = every_spelling;
  rule.plain = !branch.excluded.empty();
  std::vector<Decimal> multiples;
  const Json* origin = branch.parts.empty() ? nullptr : branch.parts.front().schema;
  for (const Part& part : branch.parts) {
    static const Json kWhole = 0;
    static const Json kFraction = 0.5;
    if (!has_type(*part.schema, kWhole)) return {};
    if (!has_type(*part.schema, kFraction)) rule.integer = true;
    const NumberRule own = number_rule(*part.schema);
    const auto tighten = [](std::optional<Bound>& kept, const std::optional<Bound>& next, int sign) {
      if (!next) return;
      const int order = kept ? sign * compare(next->value, kept->value) : 1;
      if (order > 0 || (order == 0 && next->exclusive)) kept = next;
    };
    tighten(rule.least, own.least, 1);
    tighten(rule.most, own.most, -1);
    if (own.multiple_of) multiples.push_back(*own.multiple_of);
  }
  if (!multiples.empty()) rule.multiple_of = multiples.front();
  Dfa dfa = number_dfa(rule, origin);
  for (std::size_t i = 1; i < multiples.size(); ++i) {
    NumberRule multiple = rule;
    multiple.multiple_of = multiples[i];
    dfa = joined(dfa, number_dfa(multiple, origin), Dfa::Join::both, origin);
  }
  for (const Json* schema : branch.excluded) {
    dfa = joined(dfa, numbers_of(*schema), Dfa::Join::first_only, schema);
  }
  return dfa;
}

/// Every spelling of the numbers that a schema admits.
Dfa SchemaBranches::numbers_of(const Json& schema) const {
  Dfa all;
  for (const Branch& branch : branches({{&schema, false}})) {
    if (const auto values = listed_values(branch)) {
      for (const Json* value : *values) {
        if (!value->is_number()) continue;
        NumberRule rule;
        rule.least = rule.most = Bound{decimal(*value), false};
        rule.every_spelling = true;
        all = joined(all, number_dfa(rule, &schema), Dfa::Join::either, &schema);
      }
    } else {
      all = joined(all, numbers(branch, true), Dfa::Join::either, &schema);
    }
  }
  return all;
}

Dfa SchemaBranches::lengths(std::size_t least, std::optional<std::size_t> most, const Json* schema) const {
  try {
    return texts_of_length(least, most);
  } catch (const PatternError& error) {
    refuse(schema, std::string("beside a pattern or format, or under 'not': ") + error.what());
  }
}

std::optional<StringShape> SchemaBranches::string_shape(const Branch& branch) const {
  if (!allows(branch, "string")) return std::nullopt;
  StringShape shape;
  const Limit least = limit(branch, "minLength", true, 0);
  const Limit most = limit(branch, "maxLength", false, options_.max_string_chars);
  if (most.schema != nullptr && least.value > most.value) return std::nullopt;
  std::vector<std::pair<Dfa, const Json*>> contents;
  bool has_format = false;
  for (const Part& part : branch.parts) {
    const Json& schema = *part.schema;
    if (schema.contains("pattern"))
      contents.emplace_back(document_.pattern(schema["pattern"].get<std::string>()), &schema);
    if (!schema.contains("format")) continue;
    contents.emplace_back(*format_texts(schema["format"].get<std::string>()), &schema);
    has_format = true;
  }
  for (const Json* schema : branch.excluded) {
    Dfa other = strings_of(*schema);
    if (other.empty()) continue;
    contents.emplace_back(joined(any_text(), other, Dfa::Join::first_only, schema), schema);
  }
  shape.max_chars = std::max(least.value, std::min(most.value, options_.max_string_chars));
  if (contents.empty()) {
    shape.content = any_text();
    shape.free = true;
    shape.min_chars = least.value;
    return shape;
  }
  shape.escapes = has_format ? Escapes::needed : Escapes::not_ascii;
  shape.content = std::move(contents.front().first);
  for (std::size_t i = 1; i < contents.size(); ++i) {
    shape.content = joined(shape.content, contents[i].first, Dfa::Join::both, contents[i].second);
  }
  const bool has_most = most.schema != nullptr && most.value <= options_.max_string_chars;
  if (least.value > 0 || has_most) {
    const Json* origin = has_most ? most.schema : least.schema;
    const std::optional<std::size_t> end = has_most ? std::optional(most.value) : std::nullopt;
    shape.content = joined(shape.content, lengths(least.value, end, origin), Dfa::Join::both, origin);
  }
  return shape;
}

/// Every string that a schema admits.
Dfa SchemaBranches::strings_of(const Json& schema) const {
  Dfa all;
  for (const Branch& branch : branches({{&schema, false}})) {
    Dfa texts;
    if (const auto values = listed_values(branch)) {
      std::vector<std::string> list;
      for (const Json* value : *values) {
        if (value->is_string()) list.push_back(value->get<std::string>());
      }
      texts = Dfa::texts(std::move(list));
    } else if (const auto shape = string_shape(branch)) {
      texts = shape->content;
      const Limit most = limit(branch, "maxLength", false, 0);
      const std::optional<std::size_t> end =
          most.schema != nullptr ? std::optional(most.value) : std::nullopt;
      if (shape->min_chars > 0 || end) {
        texts = joined(texts, lengths(shape->min_chars, end, &schema), Dfa::Join::both, &schema);
      }
    }
    all = joined(all, texts, Dfa::Join::either, &schema);
  }
  return all;
}

}  // namespace reelfolio::engine::constraint
