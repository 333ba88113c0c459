#include "stages/language/schema_check.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <regex>
#include <set>
#include <utility>
#include <vector>

#include "engine/json_tree.h"
#include "stages/language/decimal_digits.h"
#include "stages/language/text_formats.h"
#include "stages/nearest_name.h"

namespace reelfolio::stages {

using engine::at_pointer;
using engine::nests_deeper_than;
using engine::pointer_step;

namespace {

/// What the value of a keyword must be.
enum class Kind {
  anything,
  text,
  flag,
  number,
  positive,
  count,
  texts,
  values,
  types,
  regex,
  format,
  ref,
  schema,
  schemas,
  schema_or_list,
  schema_map,
  names_map,  ///< lists of names, or (dependencies) schemas
};

struct Keyword {
  std::string_view name;
  Kind kind;
};

constexpr std::array kKeywords = {
    Keyword{"$anchor", Kind::text},
    Keyword{"$comment", Kind::text},
    Keyword{"$defs", Kind::schema_map},
    Keyword{"$id", Kind::text},
    Keyword{"$ref", Kind::ref},
    Keyword{"$schema", Kind::text},
    Keyword{"additionalItems", Kind::schema},
    Keyword{"additionalProperties", Kind::schema},
    Keyword{"allOf", Kind::schemas},
    Keyword{"anyOf", Kind::schemas},
    Keyword{"const", Kind::anything},
    Keyword{"contains", Kind::schema},
    Keyword{"default", Kind::anything},
    Keyword{"definitions", Kind::schema_map},
    Keyword{"dependencies", Kind::names_map},
    Keyword{"dependentRequired", Kind::names_map},
    Keyword{"dependentSchemas", Kind::schema_map},
    Keyword{"deprecated", Kind::flag},
    Keyword{"description", Kind::text},
    Keyword{"else", Kind::schema},
    Keyword{"enum", Kind::values},
    Keyword{"examples", Kind::anything},
    Keyword{"exclusiveMaximum", Kind::number},
    Keyword{"exclusiveMinimum", Kind::number},
    Keyword{"format", Kind::format},
    Keyword{"if", Kind::schema},
    Keyword{"items", Kind::schema_or_list},
    Keyword{"maxContains", Kind::count},
    Keyword{"maxItems", Kind::count},
    Keyword{"maxLength", Kind::count},
    Keyword{"maxProperties", Kind::count},
    Keyword{"maximum", Kind::number},
    Keyword{"minContains", Kind::count},
    Keyword{"minItems", Kind::count},
    Keyword{"minLength", Kind::count},
    Keyword{"minProperties", Kind::count},
    Keyword{"minimum", Kind::number},
    Keyword{"multipleOf", Kind::positive},
    Keyword{"not", Kind::schema},
    Keyword{"oneOf", Kind::schemas},
    Keyword{"pattern", Kind::regex},
    Keyword{"patternProperties", Kind::schema_map},
    Keyword{"prefixItems", Kind::schemas},
    Keyword{"properties", Kind::schema_map},
    Keyword{"propertyNames", Kind::schema},
    Keyword{"readOnly", Kind::flag},
    Keyword{"required", Kind::texts},
    Keyword{"then", Kind::schema},
    Keyword{"title", Kind::text},
    Keyword{"type", Kind::types},
    Keyword{"uniqueItems", Kind::flag},
    Keyword{"writeOnly", Kind::flag},
};

constexpr std::array<std::string_view, 7> kSchemaTypes = {"array",  "boolean", "integer", "null",
                                                          "number", "object",  "string"};

/// Deeper schemas than this are refused: the checks recurse.
constexpr int kMaxSchemaDepth = 200;
/// Levels of JSON in the whole file, values of default, const and enum included: copying
/// and printing recurse.
constexpr std::size_t kMaxNesting = 1000;
/// The validator goes from schema to schema by recursion, through $ref as well.
constexpr std::size_t kMaxSchemas = 1000;
/// Schemas that apply to one value because one refers to the next.
constexpr int kMaxChain = 32;
/// libstdc++'s compiler of regular expressions recurses once for each character.
constexpr std::size_t kMaxPatternBytes = 1000;
constexpr double kMaxCount = 1e9;
/// Digits that multipleOf may have from the first that is not 0 to the last.
constexpr std::size_t kMaxMultipleDigits = 16;

class Checker {
 public:
  explicit Checker(const Json& root) : root_(root) {}

  std::string check() {
    if (nests_deeper_than(root_, kMaxNesting)) {
      fail("", "nested deeper than " + std::to_string(kMaxNesting) + " levels");
      return problem_;
    }
    visit(root_, "", 0);
    if (!problem_.empty()) return problem_;
    for (const auto& [place, ref] : refs_) {
      const std::string target = ref.substr(1);
      if (!schemas_.contains(target)) {
        fail(place, "$ref '" + ref + "' does not lead to a schema in this document");
        return problem_;
      }
    }
    for (const auto& [place, ref] : refs_) {
      const Json* node = at_pointer(root_, ref.substr(1));
      for (std::size_t steps = 0; node->is_object() && node->contains("$ref"); ++steps) {
        if (steps > refs_.size()) {
          fail(place, "$ref '" + ref + "' leads only to itself");
          return problem_;
        }
        node = at_pointer(root_, node->at("$ref").get_ref<const std::string&>().substr(1));
      }
    }
    for (const std::string& place : schemas_) {
      chain_below(place);
      if (!problem_.empty()) return problem_;
    }
    const Json& top = resolve_ref(root_, root_);
    if (!top.is_object() || !top.contains("type") || top["type"] != "object") {
      fail("", "the schema must say \"type\": \"object\": the answer is one JSON object");
    }
    return problem_;
  }

 private:
  void fail(const std::string& place, const std::string& message) {
    if (problem_.empty()) problem_ = "#" + place + ": " + message;
  }

  void visit(const Json& node, const std::string& place, int depth) {
    if (!problem_.empty()) return;
    if (depth > kMaxSchemaDepth)
      return fail(place, "nested deeper than " + std::to_string(kMaxSchemaDepth) + " levels");
    schemas_.insert(place);
    if (schemas_.size() > kMaxSchemas) {
      return fail(place, "is one of more than " + std::to_string(kMaxSchemas) + " schemas in the document");
    }
    if (node.is_boolean()) return;
    if (!node.is_object()) {
      return fail(place,
                  std::string("is ") + node.type_name() + ", expected a schema (an object, true or false)");
    }
    for (const auto& [key, value] : node.items()) {
      check_keyword(node, key, value, place, depth);
      if (!problem_.empty()) return;
    }
  }

  void check_keyword(const Json& node, const std::string& key, const Json& value, const std::string& place,
                     int depth) {
    const auto keyword = std::ranges::find(kKeywords, key, &Keyword::name);
    if (keyword == kKeywords.end()) return fail(place, unsupported(key));
    const std::string here = place + "/" + pointer_step(key);
    const auto expect = [&](bool right, const char* what) {
      if (!right) fail(here, std::string("is ") + value.type_name() + ", expected " + what);
      return right;
    };
    switch (keyword->kind) {
      case Kind::anything:
        break;
      case Kind::text:
        expect(value.is_string(), "a string");
        if (key == "$schema") check_dialect(value, here);
        break;
      case Kind::flag:
        expect(value.is_boolean(), "true or false");
        break;
      case Kind::number:
        expect(value.is_number(), "a number");
        break;
      case Kind::positive:
        if (expect(value.is_number(), "a number")) {
          if (value.get<double>() <= 0) fail(here, "must be above 0");
          if (decimal_digits(value).digits.size() > kMaxMultipleDigits) {
            fail(here, "has more than " + std::to_string(kMaxMultipleDigits) + " digits");
          }
        }
        break;
      case Kind::count:
        // 2.0 is a count as well.
        expect(value.is_number() && value.get<double>() >= 0 && value.get<double>() <= kMaxCount &&
                   std::trunc(value.get<double>()) == value.get<double>(),
               "a whole number from 0 to 1000000000");
        break;
      case Kind::texts:
        expect(is_list_of_texts(value), "a list of strings");
        break;
      case Kind::values:
        expect(value.is_array() && !value.empty(), "a list of values that is not empty");
        break;
      case Kind::types:
        check_types(value, here);
        break;
      case Kind::regex:
        if (expect(value.is_string(), "a string")) check_regex(value.get<std::string>(), here);
        break;
      case Kind::format:
        if (expect(value.is_string(), "a string") && !is_known_format(value.get<std::string>())) {
          fail(here, "format '" + value.get<std::string>() +
                         "' is not supported, expected date, date-time, email, time, uri or uuid");
        }
        break;
      case Kind::ref:
        check_ref(node, value, here);
        break;
      case Kind::schema:
        visit(value, here, depth + 1);
        break;
      case Kind::schema_or_list:
        if (!value.is_array()) {
          visit(value, here, depth + 1);
          break;
        }
        if (node.contains("prefixItems")) return fail(here, "must be one schema beside prefixItems");
        [[fallthrough]];
      case Kind::schemas:
        if (!expect(value.is_array() && !value.empty(), "a list of schemas that is not empty")) return;
        for (std::size_t i = 0; i < value.size(); ++i)
          visit(value[i], here + "/" + std::to_string(i), depth + 1);
        break;
      case Kind::schema_map:
        if (!expect(value.is_object(), "an object of schemas")) return;
        for (const auto& [name, schema] : value.items()) {
          if (key == "patternProperties") check_regex(name, here);
          visit(schema, here + "/" + pointer_step(name), depth + 1);
        }
        break;
      case Kind::names_map:
        if (!expect(value.is_object(), "an object")) return;
        for (const auto& [name, names] : value.items()) {
          const std::string below = here + "/" + pointer_step(name);
          if (names.is_array() || key == "dependentRequired") {
            if (!is_list_of_texts(names)) return fail(below, "expected a list of strings");
          } else {
            visit(names, below, depth + 1);
          }
        }
        break;
    }
  }

  static bool is_list_of_texts(const Json& value) {
    return value.is_array() && std::ranges::all_of(value, [](const Json& each) { return each.is_string(); });
  }

  static std::string unsupported(const std::string& key) {
    std::string message = "keyword '" + key + "' is not supported";
    if (key == "nullable") return message + R"(, write "type": ["string", "null"] instead)";
    std::vector<std::string_view> names;
    for (const Keyword& keyword : kKeywords) names.push_back(keyword.name);
    return message + did_you_mean(key, names);
  }

  void check_dialect(const Json& value, const std::string& here) {
    if (!value.is_string()) return;
    std::string uri = value.get<std::string>();
    if (!uri.empty() && uri.back() == '#') uri.pop_back();
    draft_7_ = uri.ends_with("json-schema.org/draft-07/schema");
    if (!draft_7_ && !uri.ends_with("json-schema.org/draft/2020-12/schema")) {
      fail(here, "'" + uri + "' is not supported, expected draft 7 or 2020-12");
    }
  }

  void check_types(const Json& value, const std::string& here) {
    const auto known = [](const Json& type) {
      return type.is_string() &&
             std::ranges::find(kSchemaTypes, std::string_view(type.get_ref<const std::string&>())) !=
                 kSchemaTypes.end();
    };
    const auto refuse = [&](const Json& type) {
      std::string message = "unknown type " + type.dump();
      if (type.is_string()) message += did_you_mean(type.get_ref<const std::string&>(), kSchemaTypes);
      fail(here, message);
    };
    if (value.is_array()) {
      if (value.empty()) return fail(here, "is an empty list of types");
      for (const Json& type : value) {
        if (!known(type)) return refuse(type);
      }
    } else if (!known(value)) {
      refuse(value);
    }
  }

  void check_regex(const std::string& pattern, const std::string& here) {
    if (pattern.size() > kMaxPatternBytes) {
      return fail(here, "a regular expression of " + std::to_string(pattern.size()) +
                            " bytes, expected at most " + std::to_string(kMaxPatternBytes));
    }
    try {
      std::regex compiled(pattern, std::regex::ECMAScript);
    } catch (const std::regex_error&) {
      fail(here, "'" + pattern + "' is not a regular expression that is supported here");
    }
  }

  void check_ref(const Json& node, const Json& value, const std::string& here) {
    if (!value.is_string()) return fail(here, "expected a string");
    const std::string ref = value.get<std::string>();
    if (!ref.starts_with("#") || (ref.size() > 1 && ref[1] != '/') || ref.find('%') != std::string::npos) {
      return fail(here,
                  "'" + ref + "' is not supported, expected a place in this document such as #/$defs/name");
    }
    // Draft 7 ignores what stands beside $ref, which nobody expects who writes it there.
    constexpr std::array<std::string_view, 13> kBeside = {
        "$ref",    "$comment",    "$defs",       "$id",      "$schema",    "$anchor", "title",
        "default", "description", "definitions", "examples", "deprecated", "readOnly"};
    for (const auto& [key, ignored] : node.items()) {
      if (draft_7_ && std::ranges::find(kBeside, std::string_view(key)) == kBeside.end()) {
        return fail(here, "'" + key + "' beside $ref is not supported; put both into allOf");
      }
    }
    refs_.emplace_back(here, ref);
  }

  /// The most schemas that one value meets on a way from the one at `place` on, that one
  /// included. A value that met one twice would be checked without end.
  int chain_below(const std::string& place) {
    const auto [entry, is_new] = chains_.emplace(place, kOpen);
    if (!is_new) {
      if (entry->second == kOpen) fail(place, "applies to the value that it is applied to, without end");
      return entry->second;
    }
    const Json& node = *at_pointer(root_, place);
    int longest = 0;
    const auto follow = [&](const std::string& next) {
      if (problem_.empty()) longest = std::max(longest, chain_below(next));
      if (longest >= kMaxChain) {
        fail(place, "one value meets more than " + std::to_string(kMaxChain) +
                        " schemas, each referring to the next");
      }
    };
    if (node.is_object()) {
      for (const char* keyword : {"if", "then", "else", "not"}) {
        if (node.contains(keyword)) follow(place + "/" + keyword);
      }
      for (const char* keyword : {"allOf", "anyOf", "oneOf"}) {
        if (!node.contains(keyword)) continue;
        for (std::size_t i = 0; i < node[keyword].size(); ++i) {
          follow(place + "/" + keyword + "/" + std::to_string(i));
        }
      }
      for (const char* keyword : {"dependentSchemas", "dependencies"}) {
        if (!node.contains(keyword)) continue;
        for (const auto& [name, schema] : node[keyword].items()) {
          if (!schema.is_array()) follow(place + "/" + keyword + "/" + pointer_step(name));
        }
      }
      if (node.contains("$ref")) follow(node["$ref"].get_ref<const std::string&>().substr(1));
    }
    chains_[place] = longest + 1;
    return longest + 1;
  }

  static constexpr int kOpen = 0;

  const Json& root_;
  bool draft_7_ = false;
  std::map<std::string, int> chains_;  ///< pointer -> chain_below; kOpen while being found
  std::set<std::string> schemas_;      ///< pointers of all schemas seen
  std::vector<std::pair<std::string, std::string>> refs_;  ///< place, $ref
  std::string problem_;
};

}  // namespace

std::string schema_problem(const Json& schema) {
  return Checker(schema).check();
}

const Json& resolve_ref(const Json& root, const Json& node) {
  const Json* resolved = &node;
  while (resolved->is_object() && resolved->contains("$ref")) {
    resolved = at_pointer(root, resolved->at("$ref").get_ref<const std::string&>().substr(1));
  }
  return *resolved;
}

}  // namespace reelfolio::stages
