#include "pipeline/result_builder.h"

#include <algorithm>
#include <exception>
#include <limits>
#include <tuple>

namespace reelfolio::pipeline {

namespace {

constexpr int kWholeInput = std::numeric_limits<int>::max();

}  // namespace

ResultBuilder::ResultBuilder(const Graph& graph, std::shared_ptr<const stages::InputFile> input)
    : graph_(graph), input_(std::move(input)) {}

ResultBuilder::UnitKey ResultBuilder::key_of(const stages::Unit& unit) const {
  const auto producer = std::find_if(graph_.stages.begin(), graph_.stages.end(),
                                     [&](const GraphStage& stage) { return stage.name == unit.producer; });
  return {static_cast<int>(producer - graph_.stages.begin()), unit.index};
}

bool ResultBuilder::add_unit(std::shared_ptr<const stages::Unit> unit) {
  UnitState& state = units_[key_of(*unit)];
  if (state.unit) return false;
  state.unit = std::move(unit);
  return true;
}

void ResultBuilder::add_frames(const stages::Unit& unit, const std::vector<stages::Picture>& pictures) {
  UnitState& state = units_[key_of(unit)];
  for (const stages::Picture& picture : pictures) {
    if (picture.time_s) state.frame_times_s.push_back(*picture.time_s);
  }
}

void ResultBuilder::add_attempt(const stages::Unit& unit) {
  ++units_[key_of(unit)].attempts;
}

void ResultBuilder::add_result(int stage, const stages::Unit& unit, stages::Json value, std::uint64_t part) {
  units_[key_of(unit)].results[stage].emplace(part, std::move(value));
}

/// One value of the parts' values; null where the stage cannot make one.
stages::Json ResultBuilder::joined(int stage, const std::shared_ptr<const stages::Unit>& unit,
                                   std::map<std::uint64_t, stages::Json> parts) {
  stages::Json value;
  try {
    for (auto& [part, next] : parts) {
      value = value.is_null() ? std::move(next)
                              : graph_.stages[stage].language->joined(std::move(value), std::move(next));
    }
    return value;
  } catch (const std::exception& error) {
    add_error(stage, unit, "internal.error", error.what());
    return nullptr;
  }
}

void ResultBuilder::add_error(int stage, std::shared_ptr<const stages::Unit> unit, std::string code,
                              std::string message) {
  const UnitKey key = unit ? key_of(*unit) : UnitKey(kWholeInput, 0);
  if (unit) units_[key].failed = true;
  std::string name = stage == GraphStage::kInputs ? "inputs" : graph_.stages[stage].name;
  errors_.push_back({key, stage, {std::move(name), std::move(unit), std::move(code), std::move(message)}});
}

/// What language stages make of all their results together.
void ResultBuilder::add_merged(stages::InputResult& result) {
  for (std::size_t i = 0; i < graph_.stages.size(); ++i) {
    const GraphStage& stage = graph_.stages[i];
    if (!stage.language) continue;
    std::vector<stages::UnitValue> values;
    for (const stages::UnitResult& unit : result.units) {
      for (const auto& [name, value] : unit.results) {
        if (name == stage.name) values.push_back({unit.unit, &value});
      }
    }
    if (values.empty()) continue;
    try {
      stages::Json merged = stage.language->merged(values);
      if (!merged.is_null()) result.results.emplace_back(stage.name, std::move(merged));
    } catch (const stages::ItemError& error) {
      add_error(static_cast<int>(i), nullptr, error.code(), error.what());
    } catch (const std::exception& error) {
      add_error(static_cast<int>(i), nullptr, "internal.error", error.what());
    }
  }
}

stages::InputResult ResultBuilder::finish() {
  stages::InputResult result;
  result.input = std::move(input_);
  bool succeeded = false;
  for (auto& [key, state] : units_) {
    if (!state.unit) continue;
    succeeded = succeeded || !state.results.empty() || (state.attempts == 0 && !state.failed);
    stages::UnitResult unit;
    unit.unit = std::move(state.unit);
    unit.frame_times_s = std::move(state.frame_times_s);
    std::sort(unit.frame_times_s.begin(), unit.frame_times_s.end());
    unit.frame_times_s.erase(std::unique(unit.frame_times_s.begin(), unit.frame_times_s.end()),
                             unit.frame_times_s.end());
    for (auto& [stage, parts] : state.results) {
      stages::Json value = joined(stage, unit.unit, std::move(parts));
      if (!value.is_null()) unit.results.emplace_back(graph_.stages[stage].name, std::move(value));
    }
    result.units.push_back(std::move(unit));
  }
  add_merged(result);
  std::stable_sort(errors_.begin(), errors_.end(), [](const Error& a, const Error& b) {
    return std::tie(a.key, a.stage) < std::tie(b.key, b.stage);
  });
  for (Error& error : errors_) result.errors.push_back(std::move(error.record));

  if (!result.errors.empty()) {
    result.status = succeeded ? stages::InputStatus::partial : stages::InputStatus::failed;
  } else {
    result.status = taken_ ? stages::InputStatus::ok : stages::InputStatus::skipped;
  }
  units_.clear();
  errors_.clear();
  return result;
}

}  // namespace reelfolio::pipeline
