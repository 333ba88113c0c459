#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "stages/item.h"

/// What is written: results and errors of one input (design.md, "Output").
namespace reelfolio::stages {

/// Keeps keys in the order they were added: output bytes are a promise.
using Json = nlohmann::ordered_json;

struct UnitResult {
  std::shared_ptr<const Unit> unit;
  std::vector<double> frame_times_s;                  ///< ascending, of all frames sampled for this unit
  std::vector<std::pair<std::string, Json>> results;  ///< stage name -> value, in graph order
};

struct ErrorRecord {
  std::string stage;                 ///< name in the graph; "inputs" before any stage
  std::shared_ptr<const Unit> unit;  ///< null: the whole input
  std::string code;
  std::string message;
};

enum class InputStatus { ok, partial, failed, skipped };

/// Everything about one input, complete: what a sink receives.
struct InputResult {
  std::shared_ptr<const InputFile> input;
  InputStatus status = InputStatus::ok;
  std::vector<UnitResult> units;  ///< in unit order
  std::vector<ErrorRecord> errors;
  /// Stage name -> value for the input as a whole (LanguageStage::merged), in graph order; in
  /// the closing line.
  std::vector<std::pair<std::string, Json>> results{};
};

}  // namespace reelfolio::stages
