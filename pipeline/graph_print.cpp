#include <algorithm>
#include <nlohmann/json.hpp>

#include "pipeline/file_hash.h"
#include "pipeline/graph.h"
#include "pipeline/param_values.h"

namespace reelfolio::pipeline {

namespace {

std::string source_name(const Graph& graph, int source) {
  return source == GraphStage::kInputs ? "inputs" : graph.stages[source].name;
}

std::string yaml_paths(const std::vector<std::string>& texts) {
  return param_to_yaml(texts, stages::ParamType::text_list);
}

/// A text inside double quotes of a DOT file.
std::string dot_text(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

nlohmann::ordered_json param_to_json(const stages::ParamValue& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag;
  if (const auto* whole = std::get_if<std::int64_t>(&value)) return *whole;
  if (const auto* number = std::get_if<double>(&value)) return *number;
  if (const auto* text = std::get_if<std::string>(&value)) return *text;
  if (const auto* list = std::get_if<std::vector<std::string>>(&value)) return *list;
  if (const auto* map = std::get_if<stages::TextMap>(&value)) {
    auto pairs = nlohmann::ordered_json::array();
    for (const auto& [name, text] : *map) pairs.push_back({name, text});
    return pairs;
  }
  return nullptr;
}

std::string kv_cache_name(const ModelSettings& model) {
  return model.kv_cache ? std::string(engine::text::kv_type_name(*model.kv_cache)) : "auto";
}

}  // namespace

std::string graph_to_yaml(const Graph& graph) {
  std::string out = "version: 1\nmodel:\n";
  if (!graph.model.path.empty()) out += "  path: " + yaml_text(graph.model.path.string()) + "\n";
  out += "  weights: " + std::string(engine::ops::weight_type_name(graph.model.weights)) + "\n";
  out += "  kv_cache: " + kv_cache_name(graph.model) + "\n";

  std::vector<std::string> paths;
  for (const auto& path : graph.inputs.paths) paths.push_back(path.string());
  out += "inputs:\n";
  out += "  paths: " + yaml_paths(paths) + "\n";
  out += "  include: " + yaml_paths(graph.inputs.include) + "\n";
  out += "  exclude: " + yaml_paths(graph.inputs.exclude) + "\n";

  out += "stages:\n";
  for (const GraphStage& stage : graph.stages) {
    out += "  " + yaml_text(stage.name) + ":\n    use: " + yaml_text(stage.type->name) + "\n    from: ";
    if (stage.from.size() == 1) {
      out += yaml_text(source_name(graph, stage.from[0])) + "\n";
    } else {
      std::vector<std::string> names;
      for (int source : stage.from) names.push_back(source_name(graph, source));
      out += yaml_paths(names) + "\n";
    }
    for (const stages::ParamSpec& spec : stage.type->params) {
      out += "    " + yaml_text(spec.name) + ": " +
             param_to_yaml(stage.params.values().at(spec.name), spec.type) + "\n";
    }
  }

  std::vector<std::string> subtitles;
  for (const stages::SubtitleFormat format : graph.subtitles) {
    subtitles.emplace_back(stages::subtitle_format_name(format));
  }
  out += "output:\n";
  if (!graph.output_path.empty()) out += "  path: " + yaml_text(graph.output_path.string()) + "\n";
  out += "  subtitles: " + yaml_paths(subtitles) + "\n";
  if (!graph.subtitles_folder.empty()) {
    out += "  subtitles_folder: " + yaml_text(graph.subtitles_folder.string()) + "\n";
  }
  out += "limits:\n";
  out += "  decoders: " + std::to_string(graph.limits.decoders) + "\n";
  out += "  queue_bytes: " + std::to_string(graph.limits.queue_bytes) + "\n";
  out += "  inputs_in_flight: " + std::to_string(graph.limits.inputs_in_flight) + "\n";
  out += "  batch: " + std::to_string(graph.limits.batch) + "\n";
  out += "  cache_bytes: " + std::to_string(graph.limits.cache_bytes) + "\n";
  out += "  media_cache: " + std::to_string(graph.limits.media_cache) + "\n";
  const auto& [time_s, stall_s, memory_bytes] = graph.limits.input;
  out += "  input_time: " + param_to_yaml(time_s, stages::ParamType::duration) + "\n";
  out += "  input_stall: " + param_to_yaml(stall_s, stages::ParamType::duration) + "\n";
  out += "  input_memory: " + std::to_string(memory_bytes) + "\n";
  return out;
}

std::string graph_to_dot(const Graph& graph) {
  std::string out = "digraph reelfolio {\n  rankdir=LR;\n  node [shape=box];\n  \"inputs\" [shape=folder];\n";
  for (const GraphStage& stage : graph.stages) {
    out += "  \"" + dot_text(stage.name) + "\" [label=\"" + dot_text(stage.name);
    if (stage.name != stage.type->name) out += "\\n" + dot_text(stage.type->name);
    out += stage.language ? "\", style=rounded];\n" : "\"];\n";
  }
  for (const GraphStage& stage : graph.stages) {
    for (int source : stage.from) {
      // An edge carries those of the source's products that the stage receives.
      std::string label;
      for (stages::ItemType type : stage.receives) {
        if (source != GraphStage::kInputs) {
          const stages::StageType& from = *graph.stages[source].type;
          const auto made = from.gives != nullptr ? from.gives(graph.stages[source].receives) : from.produces;
          if (std::find(made.begin(), made.end(), type) == made.end()) continue;
        } else if (type > stages::ItemType::text_file) {
          continue;
        }
        label += (label.empty() ? "" : ", ") + std::string(stages::item_type_name(type));
      }
      out += "  \"" + dot_text(source_name(graph, source)) + "\" -> \"" + dot_text(stage.name) +
             "\" [label=\"" + label + "\"];\n";
    }
  }
  return out + "}\n";
}

std::string graph_fingerprint(const Graph& graph) {
  nlohmann::ordered_json document;
  document["version"] = 1;
  if (graph.needs_model()) {
    document["weights"] = engine::ops::weight_type_name(graph.model.weights);
    if (graph.model.kv_cache) document["kv_cache"] = kv_cache_name(graph.model);
  }
  auto& stages = document["stages"] = nlohmann::ordered_json::array();
  for (const GraphStage& stage : graph.stages) {
    nlohmann::ordered_json entry;
    entry["name"] = stage.name;
    entry["use"] = stage.type->name;
    for (int source : stage.from) entry["from"].push_back(source_name(graph, source));
    for (const auto& [name, value] : stage.params.values()) {
      const auto hash = stage.file_sha256.find(name);
      entry["params"][name] =
          hash == stage.file_sha256.end() ? param_to_json(value) : nlohmann::ordered_json(hash->second);
    }
    if (stage.language) {
      if (std::string more = stage.language->fingerprint(); !more.empty()) entry["files"] = std::move(more);
    }
    stages.push_back(std::move(entry));
  }
  return sha256_of(document.dump());
}

}  // namespace reelfolio::pipeline
