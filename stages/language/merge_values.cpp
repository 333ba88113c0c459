#include "stages/language/merge_values.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "engine/json_tree.h"
#include "stages/error.h"
#include "stages/language/schema_check.h"
#include "stages/nearest_name.h"

namespace reelfolio::stages {

namespace {

constexpr std::array<std::pair<std::string_view, MergeRule>, 4> kRules = {{{"first", MergeRule::first},
                                                                           {"longest", MergeRule::longest},
                                                                           {"list", MergeRule::list},
                                                                           {"vote", MergeRule::vote}}};

std::string folded(std::string_view text) {
  std::string out;
  bool space = false;
  for (const char c : text) {
    if (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
      space = !out.empty();
      continue;
    }
    if (space) out += ' ';
    space = false;
    out += c;
  }
  return out;
}

Json with_folded_texts(const Json& value) {
  if (value.is_string()) return folded(value.get_ref<const std::string&>());
  if (!value.is_structured()) return value;
  Json result = value;
  for (Json& each : result) each = with_folded_texts(each);
  return result;
}

bool is_there(const Json& value) {
  if (value.is_string()) return !folded(value.get_ref<const std::string&>()).empty();
  return !value.is_null() && !(value.is_structured() && value.empty());
}

std::size_t length_of(const Json& value) {
  if (value.is_array()) return value.size();
  if (!value.is_string()) return value.dump().size();
  const std::string text = folded(value.get_ref<const std::string&>());
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

bool may_be(const Json& node, std::string_view type) {
  if (!node.is_object()) return true;
  if (!node.contains("type")) {
    for (const char* keyword : {"anyOf", "oneOf", "allOf", "enum", "const"}) {
      if (node.contains(keyword)) return true;  // not decided here
    }
    return type != "array" || !node.contains("properties");
  }
  const Json& types = node["type"];
  if (types.is_string()) return types.get_ref<const std::string&>() == type;
  return std::ranges::find(types, Json(type)) != types.end();
}

std::string joined_path(const std::string& path, const std::string& name) {
  return path.empty() ? engine::pointer_step(name) : path + "/" + engine::pointer_step(name);
}

/// Sources that say the same.
struct Group {
  std::string key;
  const Json* value = nullptr;
  std::set<int> numbers;
  std::size_t votes = 0;
};

std::vector<Group> grouped(std::span<const ValueMerge::Source> found) {
  std::vector<Group> groups;
  for (const ValueMerge::Source& source : found) {
    std::string key = folded_value(*source.value);
    auto group = std::ranges::find(groups, key, &Group::key);
    if (group == groups.end()) group = groups.insert(groups.end(), {std::move(key), source.value, {}, 0});
    group->numbers.insert(source.number);
    ++group->votes;
  }
  return groups;
}

}  // namespace

std::optional<MergeRule> merge_rule(std::string_view name) {
  for (const auto& [known, rule] : kRules) {
    if (known == name) return rule;
  }
  return std::nullopt;
}

std::string folded_value(const Json& value) {
  return with_folded_texts(value).dump(-1, ' ', false, Json::error_handler_t::replace);
}

ValueMerge::ValueMerge(const JsonSchema& schema, MergeRule rule,
                       const std::vector<std::pair<std::string, std::string>>& fields,
                       const std::string& param)
    : schema_(schema), rule_(rule) {
  for (const auto& [path, rule_name] : fields) {
    const auto field_rule = merge_rule(rule_name);
    if (!field_rule) {
      std::vector<std::string_view> names;
      for (const auto& [name, known] : kRules) names.push_back(name);
      throw ParamError(param, "'" + path + "' is '" + rule_name + "', expected first, longest, list or vote" +
                                  did_you_mean(rule_name, names));
    }
    const Json* node = &schema.document();
    std::string done;
    for (std::size_t at = 0; at <= path.size();) {
      const std::size_t end = std::min(path.find('/', at), path.size());
      const std::string step = path.substr(at, end - at);
      const Json& object = resolve_ref(schema.document(), *node);
      const Json* next = nullptr;
      std::vector<std::string> paths;
      if (object.is_object() && object.contains("properties")) {
        for (const auto& [name, property] : object["properties"].items()) {
          if (engine::pointer_step(name) == step) next = &property;
          paths.push_back(joined_path(done, name));
        }
      }
      if (next == nullptr) {
        const std::vector<std::string_view> known(paths.begin(), paths.end());
        throw ParamError(param, "the schema has no field '" + path + "'" + did_you_mean(path, known));
      }
      node = next;
      done = path.substr(0, end);
      at = end + 1;
    }
    if (*field_rule == MergeRule::list && !may_be(resolve_ref(schema.document(), *node), "array")) {
      throw ParamError(param, "'" + path + "' is no list in the schema, expected first, longest or vote");
    }
    fields_[path] = *field_rule;
  }
}

const Json* ValueMerge::field_schema(const Json& node, const std::string& name) const {
  if (!node.is_object() || !node.contains("properties")) return nullptr;
  const Json& properties = node["properties"];
  return properties.contains(name) ? &resolve_ref(schema_.document(), properties[name]) : nullptr;
}

Json ValueMerge::merge_objects(const Json& node, std::span<const Source> sources, const std::string& path,
                               Result& result) const {
  std::vector<std::string> names;
  if (node.is_object() && node.contains("properties")) {
    for (const auto& [name, property] : node["properties"].items()) names.push_back(name);
  }
  for (const Source& source : sources) {
    for (const auto& [name, value] : source.value->items()) {
      if (std::ranges::find(names, name) == names.end()) names.push_back(name);
    }
  }
  static const Json kAnything = true;
  Json object = Json::object();
  for (const std::string& name : names) {
    std::vector<Source> given;
    std::vector<Source> found;
    for (const Source& source : sources) {
      if (!source.value->contains(name)) continue;
      given.push_back({source.number, &(*source.value)[name]});
      if (is_there(*given.back().value)) found.push_back(given.back());
    }
    if (given.empty()) continue;
    const Json* field = field_schema(node, name);
    object[name] = found.empty() ? *given.front().value
                                 : merge_field(field == nullptr ? kAnything : *field, found,
                                               joined_path(path, name), result);
  }
  return object;
}

Json ValueMerge::merge_field(const Json& node, std::span<const Source> found, const std::string& path,
                             Result& result) const {
  const auto own = fields_.find(path);
  const MergeRule rule = own != fields_.end() ? own->second : rule_;
  const auto all = [&](bool (Json::*is)() const noexcept) {
    return std::ranges::all_of(found, [&](const Source& source) { return (source.value->*is)(); });
  };
  if (own == fields_.end() && node.is_object() && node.contains("properties") && all(&Json::is_object)) {
    return merge_objects(node, found, path, result);
  }
  if (rule == MergeRule::list && all(&Json::is_array)) {
    const bool unique = node.is_object() && node.value("uniqueItems", false);
    Json list = Json::array();
    for (const Source& source : found) {
      for (const Json& each : *source.value) {
        if (!unique || std::ranges::find(list, each) == list.end()) list.push_back(each);
      }
      Json& numbers = result.evidence[path];
      if (numbers.is_null() || numbers.back() != source.number) numbers.push_back(source.number);
    }
    return list;
  }
  const std::vector<Group> groups = grouped(found);
  auto chosen = groups.begin();
  if (rule == MergeRule::longest) {
    chosen = std::ranges::max_element(groups, {}, [](const Group& group) { return length_of(*group.value); });
  } else if (rule == MergeRule::vote) {
    chosen = std::ranges::max_element(groups, {}, &Group::votes);
  }
  result.evidence[path] = chosen->numbers;
  if (groups.size() > 1) {
    for (const Group& group : groups) {
      result.conflicts[path].push_back({{"value", *group.value}, {"pages", group.numbers}});
    }
  }
  return *chosen->value;
}

ValueMerge::Result ValueMerge::merge(std::span<const Source> sources) const {
  Result result;
  result.value = merge_objects(resolve_ref(schema_.document(), schema_.document()), sources, "", result);
  return result;
}

}  // namespace reelfolio::stages
