#include "pipeline/fingerprints.h"

#include <algorithm>
#include <set>
#include <utility>
#include <variant>

#include "pipeline/field_hash.h"

namespace reelfolio::pipeline {

namespace {

/// One overload for each type that a parameter may have.
struct ParamHasher {
  FieldHash& hash;
  void operator()(std::monostate) const { hash.text("none"); }
  void operator()(bool value) const { hash.text("boolean").number(int{value}); }
  void operator()(std::int64_t value) const { hash.text("integer").number(value); }
  void operator()(double value) const { hash.text("number").number(value); }
  void operator()(const std::string& value) const { hash.text("text").text(value); }
  void operator()(const std::vector<std::string>& values) const {
    hash.text("list").number(values.size());
    for (const std::string& value : values) hash.text(value);
  }
  void operator()(const stages::TextMap& values) const {
    hash.text("map").number(values.size());
    for (const auto& [name, text] : values) hash.text(name).text(text);
  }
};

}  // namespace

std::vector<std::string> stage_fingerprints(const Graph& graph) {
  std::vector<std::string> fingerprints;
  for (const GraphStage& stage : graph.stages) {
    FieldHash hash("reelfolio stage 1");
    hash.text(stage.name).text(stage.type->name).number(stage.from.size());
    for (const int source : stage.from) {
      hash.text(source == GraphStage::kInputs ? "inputs" : graph.stages[source].name);
    }
    hash.number(stage.params.values().size());
    for (const auto& [name, value] : stage.params.values()) {
      hash.text(name);
      const auto file = stage.file_sha256.find(name);
      if (file != stage.file_sha256.end()) {
        hash.text("file").text(file->second);
      } else {
        std::visit(ParamHasher{hash}, value);
      }
    }
    if (stage.language) hash.text(stage.language->fingerprint());
    fingerprints.push_back(hash.finish());
  }
  return fingerprints;
}

std::vector<int> reached_stages(const Graph& graph, stages::MediaKind media) {
  auto file = std::make_shared<stages::InputFile>();
  file->media = media;
  const auto type = stages::item_type(stages::Item{file, nullptr, {}});
  if (!type) return {};
  const stages::DecodePlan plan = decode_plan(graph);
  std::set<int> reached;
  std::vector<std::pair<int, stages::ItemType>> made = {{GraphStage::kInputs, *type}};
  while (!made.empty()) {
    const auto [source, product] = made.back();
    made.pop_back();
    for (int stage = 0; stage < static_cast<int>(graph.stages.size()); ++stage) {
      if (!plan.takes(stage, source, product) || !reached.insert(stage).second) continue;
      for (const stages::ItemType next : graph.stages[stage].type->produces) made.emplace_back(stage, next);
    }
  }
  return {reached.begin(), reached.end()};
}

}  // namespace reelfolio::pipeline
