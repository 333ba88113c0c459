#include "pipeline/explain.h"

#include <algorithm>

#include "pipeline/display_text.h"
#include "pipeline/names.h"
#include "stages/decoder/isolated_decoder.h"

namespace reelfolio::pipeline {

namespace {

/// Stages that take an input of this type.
std::vector<std::string> takers(const Graph& graph, stages::ItemType type) {
  std::vector<std::string> names;
  for (const GraphStage& stage : graph.stages) {
    const bool from_inputs =
        std::find(stage.from.begin(), stage.from.end(), GraphStage::kInputs) != stage.from.end();
    const bool takes = std::find(stage.receives.begin(), stage.receives.end(), type) != stage.receives.end();
    if (from_inputs && takes) names.push_back(stage.name);
  }
  return names;
}

std::string failure(const std::string& code, const std::string& message) {
  return "failed: " + code + ": " + printable(message);
}

std::string unit_name(const stages::Unit& unit) {
  const bool numbered = unit.kind == stages::UnitKind::page;
  return std::string(stages::unit_kind_name(unit.kind)) + " " +
         std::to_string(numbered ? unit.number : unit.index);
}

std::string status_reason(const Graph& graph, const stages::InputResult& result) {
  const std::size_t units = result.units.size();
  switch (result.status) {
    case stages::InputStatus::ok:
      return "ok: " + counted(units, "unit") + ", no error";
    case stages::InputStatus::partial: {
      std::size_t clean = 0;
      for (const stages::UnitResult& unit : result.units) {
        clean += std::none_of(result.errors.begin(), result.errors.end(),
                              [&](const stages::ErrorRecord& error) { return error.unit == unit.unit; });
      }
      return "partial: " + std::to_string(clean) + " of " + counted(units, "unit") + " without error";
    }
    case stages::InputStatus::failed:
      return "failed: " + counted(result.errors.size(), "error") + ", no result";
    case stages::InputStatus::skipped:
      break;
  }
  const auto type = item_type(stages::Item{result.input, nullptr, {}});
  if (!type || !takers(graph, *type).empty()) return "skipped";
  return "skipped: no stage takes " + std::string(stages::item_type_name(*type));
}

}  // namespace

std::string plan_input(const Graph& graph, const ListedInput& input, const RunOptions& options) {
  const std::string name = printable(input.name) + ": ";
  if (!input.error.empty()) return name + failure("input.unreadable", input.error);
  stages::Item item;
  try {
    const stages::DecodePlan plan = decode_plan(graph);
    stages::StageTimer timer([] { return 0.0; }, plan.stages.size());
    std::optional<stages::InputFile> file;
    if (options.history != nullptr) file = options.history->unchanged(input);
    if (!file && options.probe) file = options.probe(input.path, input.name);
    if (!file) file = make_decoder_thread(plan, timer, options.decoders)->probe(input.path, input.name, {});
    item.input = std::make_shared<const stages::InputFile>(std::move(*file));
  } catch (const stages::ItemError& error) {
    return name + failure(error.code(), error.what());
  }
  const std::string media(stages::media_kind_name(item.input->media));
  std::string reason;
  if (options.history != nullptr) {
    const Found found = options.history->find(*item.input);
    if (found.result) return name + media + ", " + found.reason;
    const bool is_known = options.history->decoding(*item.input).has_value();
    reason = " (" + found.reason + (is_known ? "; it came apart before)" : ")");
  }
  const auto type = item_type(item);
  if (!type) return name + failure("input.unsupported", "the content is no video, PDF, image, sound or text");
  const std::vector<std::string> stages = takers(graph, *type);
  if (!stages.empty()) return name + media + ", goes to " + joined(stages, " and ") + reason;
  return name + media + ", skipped: no stage takes " + std::string(stages::item_type_name(*type));
}

std::vector<std::string> explain_result(const Graph& graph, const stages::InputResult& result) {
  std::vector<std::string> lines = {printable(result.input->name) + ": " + status_reason(graph, result)};
  std::vector<bool> told(result.errors.size());
  const auto errors_of = [&](const stages::Unit* unit) {
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < result.errors.size(); ++i) {
      const stages::ErrorRecord& error = result.errors[i];
      if (told[i] || error.unit.get() != unit) continue;
      told[i] = true;
      texts.push_back(error.stage + " " + failure(error.code, error.message));
    }
    return texts;
  };
  for (const stages::UnitResult& unit : result.units) {
    std::vector<std::string> answered;
    for (const auto& [stage, value] : unit.results) answered.push_back(stage);
    std::vector<std::string> parts;
    if (!answered.empty()) parts.push_back(joined(answered, ", "));
    for (std::string& text : errors_of(unit.unit.get())) parts.push_back(std::move(text));
    if (parts.empty()) parts.emplace_back("no stage asks about it");
    std::string line = "  " + unit_name(*unit.unit) + ": ";
    for (std::size_t i = 0; i < parts.size(); ++i) line += (i > 0 ? "; " : "") + parts[i];
    lines.push_back(std::move(line));
  }
  // Units that failed before they were cut have no line of their own in the output.
  for (std::size_t i = 0; i < result.errors.size(); ++i) {
    const stages::ErrorRecord& error = result.errors[i];
    if (told[i] || !error.unit) continue;
    told[i] = true;
    lines.push_back("  " + unit_name(*error.unit) + ": " + error.stage + " " +
                    failure(error.code, error.message));
  }
  for (const std::string& text : errors_of(nullptr)) lines.push_back("  input: " + text);
  return lines;
}

}  // namespace reelfolio::pipeline
