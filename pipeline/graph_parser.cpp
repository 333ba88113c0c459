#include "pipeline/graph_parser.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "pipeline/names.h"
#include "pipeline/param_values.h"
#include "pipeline/yaml_reader.h"
#include "stages/system_message.h"

namespace reelfolio::pipeline {

namespace {

using Map = SpecValue::Map;
using Scalar = SpecValue::Scalar;

const std::vector<std::string>& top_level_keys() {
  static const std::vector<std::string> keys = {"version", "model", "inputs", "stages", "output", "limits"};
  return keys;
}

// Stage names become keys of unit lines beside these.
constexpr std::array<std::string_view, 8> kRecordKeys = {"type",  "input",  "sha256", "unit",
                                                         "media", "status", "units",  "errors"};

Map take_map(SpecValue& value, const std::string& name) {
  if (std::holds_alternative<std::monostate>(value.data)) return {};
  auto* map = std::get_if<Map>(&value.data);
  if (map == nullptr) {
    throw ConfigError(value.where, in_quotes(name) + " is " + describe(value) + ", expected a map");
  }
  return std::move(*map);
}

void check_stage_name(const std::string& name, const SourceLocation& where) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  if (name.empty() || !std::all_of(name.begin(), name.end(), allowed)) {
    throw ConfigError(where,
                      "stage name " + in_quotes(name) + " is not made of letters, digits, '_' and '-'");
  }
  const auto& sections = top_level_keys();
  if (std::find(sections.begin(), sections.end(), name) != sections.end()) {
    throw ConfigError(where, "stage name " + in_quotes(name) + " is taken by a section of the graph");
  }
  if (std::find(kRecordKeys.begin(), kRecordKeys.end(), name) != kRecordKeys.end()) {
    throw ConfigError(where, "stage name " + in_quotes(name) + " is taken by a key of every record");
  }
}

std::vector<StageSpec> take_stages(SpecValue& value) {
  std::vector<StageSpec> stages;
  for (SpecValue::MapEntry& entry : take_map(value, "stages")) {
    check_stage_name(entry.key, entry.key_where);
    if (std::holds_alternative<std::monostate>(entry.value.data)) {
      throw ConfigError(entry.key_where,
                        "stage " + in_quotes(entry.key) + " is empty, expected a map with 'use'");
    }
    auto* map = std::get_if<Map>(&entry.value.data);
    if (map == nullptr) {
      throw ConfigError(entry.value.where, "stage " + in_quotes(entry.key) + " is " + describe(entry.value) +
                                               ", expected a map with 'use'");
    }
    stages.push_back({entry.key, entry.key_where, std::move(*map)});
  }
  return stages;
}

std::string read_file(const std::filesystem::path& file) {
  const SourceLocation where{file.string(), 0, 0};
  const auto fail = [&](int error) {
    throw ConfigError(where, "cannot be read: " + stages::system_message(error));
  };
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(errno);
  std::string text;
  const std::size_t limit = YamlLimits{}.bytes + 4;  // enough to see that it is too long
  std::array<char, 16384> buffer{};
  while (text.size() <= limit) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      const int error = errno;
      ::close(fd);
      fail(error);
    }
    if (got == 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  ::close(fd);
  return text;
}

bool takes_from(const StageSpec& stage, std::string_view source) {
  for (const SpecValue::MapEntry& entry : stage.entries) {
    if (entry.key != "from") continue;
    const auto is_source = [&](const SpecValue& value) {
      const auto* scalar = std::get_if<Scalar>(&value.data);
      return scalar != nullptr && scalar->text == source;
    };
    if (is_source(entry.value)) return true;
    if (const auto* list = std::get_if<SpecValue::List>(&entry.value.data)) {
      if (std::any_of(list->begin(), list->end(), is_source)) return true;
    }
  }
  return false;
}

/// The entries that a setting's first word names. Null: there is nothing of that name.
Map* find_section(GraphSpec& spec, const std::string& name, const SourceLocation& where) {
  if (name == "model") return &spec.model;
  if (name == "inputs") return &spec.inputs;
  if (name == "output") return &spec.output;
  if (name == "limits") return &spec.limits;
  for (StageSpec& stage : spec.stages) {
    if (stage.name == name) return &stage.entries;
  }
  for (const auto& [implied, type] :
       {std::pair("images", "read_images"), std::pair("sounds", "split_audio")}) {
    const std::string_view source = implied;
    if (name != source || std::none_of(spec.stages.begin(), spec.stages.end(),
                                       [&](const StageSpec& stage) { return takes_from(stage, source); })) {
      continue;
    }
    StageSpec stage{name, where, {}};
    stage.entries.push_back({"use", where, SpecValue{where, Scalar{type, false}}});
    stage.entries.push_back({"from", where, SpecValue{where, Scalar{"inputs", false}}});
    spec.stages.insert(spec.stages.begin(), std::move(stage));
    return &spec.stages.front().entries;
  }
  for (StageSpec& stage : spec.implied) {
    if (stage.name == name) return &stage.entries;
  }
  // Stages between two are named after the first of them.
  const auto follows = [&](const std::string& source) { return name.starts_with(source + "_"); };
  if (follows("inputs") || std::any_of(spec.stages.begin(), spec.stages.end(),
                                       [&](const StageSpec& stage) { return follows(stage.name); })) {
    spec.implied.push_back({name, where, {}});
    return &spec.implied.back().entries;
  }
  return nullptr;
}

}  // namespace

GraphSpec parse_graph(std::string_view yaml, const std::filesystem::path& file) {
  GraphSpec spec;
  spec.file = file;
  SpecValue root = read_yaml(yaml, file.string());
  if (std::holds_alternative<std::monostate>(root.data)) {
    throw ConfigError(SourceLocation{file.string(), 0, 0}, "empty, expected a graph");
  }
  auto* map = std::get_if<Map>(&root.data);
  if (map == nullptr) {
    throw ConfigError(root.where, "the graph is " + describe(root) + ", expected a map with " +
                                      joined(top_level_keys(), " and "));
  }
  // Errors about what is missing name the file as a whole.
  spec.version.where = {file.string(), 0, 0};
  for (SpecValue::MapEntry& entry : *map) {
    if (entry.key == "version") {
      spec.version = std::move(entry.value);
    } else if (entry.key == "model") {
      spec.model = take_map(entry.value, entry.key);
    } else if (entry.key == "inputs") {
      spec.inputs = take_map(entry.value, entry.key);
    } else if (entry.key == "stages") {
      spec.stages = take_stages(entry.value);
    } else if (entry.key == "output") {
      spec.output = take_map(entry.value, entry.key);
    } else if (entry.key == "limits") {
      spec.limits = take_map(entry.value, entry.key);
    } else {
      throw ConfigError(entry.key_where,
                        "unknown key " + in_quotes(entry.key) + suggestion(entry.key, top_level_keys()));
    }
  }
  return spec;
}

GraphSpec parse_graph_file(const std::filesystem::path& file) {
  return parse_graph(read_file(file), file);
}

ConfigError no_such_stage(const SourceLocation& where, const std::string& name,
                          std::vector<std::string> names) {
  for (const char* section : {"model", "inputs", "output", "limits"}) names.emplace_back(section);
  return {where, "there is no stage " + in_quotes(name) + suggestion(name, names)};
}

void apply_setting(GraphSpec& spec, std::string_view setting) {
  const std::size_t equals = setting.find('=');
  const std::string target(setting.substr(0, equals));
  const std::size_t dot = target.find('.');
  if (equals == std::string_view::npos || dot == std::string::npos || dot == 0 || target.back() == '.' ||
      target.find("..") != std::string::npos) {
    throw ConfigError("--set " + in_quotes(setting) + ", expected stage.key=value");
  }
  const SourceLocation where{"--set " + target, 0, 0};
  const std::string section = target.substr(0, dot);
  Map* map = find_section(spec, section, where);
  if (map == nullptr) {
    std::vector<std::string> names;
    for (const StageSpec& stage : spec.stages) names.push_back(stage.name);
    throw no_such_stage(where, section, std::move(names));
  }
  SpecValue value = read_yaml(setting.substr(equals + 1), where.file, /*has_lines=*/false);
  value.where = where;

  std::string_view rest = std::string_view(target).substr(dot + 1);
  for (;;) {
    const std::size_t next = rest.find('.');
    const std::string key(rest.substr(0, next));
    auto entry = std::find_if(map->begin(), map->end(), [&](const auto& e) { return e.key == key; });
    if (entry == map->end()) {
      map->push_back({key, where, SpecValue{where, {}}});
      entry = map->end() - 1;
    }
    if (next == std::string_view::npos) {
      entry->key_where = where;
      entry->value = std::move(value);
      return;
    }
    if (std::holds_alternative<std::monostate>(entry->value.data)) entry->value.data = Map{};
    map = std::get_if<Map>(&entry->value.data);
    if (map == nullptr) {
      throw ConfigError(where, in_quotes(key) + " is " + describe(entry->value) + ", expected a map");
    }
    rest.remove_prefix(next + 1);
  }
}

}  // namespace reelfolio::pipeline
