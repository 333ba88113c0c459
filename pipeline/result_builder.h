#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pipeline/graph.h"
#include "stages/record.h"

namespace reelfolio::pipeline {

/// Gathers what becomes of one input, in whatever order it happens, into the InputResult that
/// scheduler.h describes. Not thread-safe. Borrows the graph.
///
/// Errors of one stage must arrive in the order of its work; those of different stages, and
/// results, may arrive in any.
class ResultBuilder {
 public:
  ResultBuilder(const Graph& graph, std::shared_ptr<const stages::InputFile> input);

  /// Once the input is probed: replaces what was known from its listing.
  void set_input(std::shared_ptr<const stages::InputFile> input) { input_ = std::move(input); }
  /// Some stage takes this input; without this call (and without errors) it is `skipped`.
  void set_taken() { taken_ = true; }

  /// A unit was cut. False if its stage has already cut one of that index.
  bool add_unit(std::shared_ptr<const stages::Unit> unit);
  /// Frames were sampled for a unit.
  void add_frames(const stages::Unit& unit, const std::vector<stages::Picture>& pictures);
  /// `stage`: index in the graph. It is going to be asked about the unit.
  void add_attempt(const stages::Unit& unit);
  /// `part`: which of the unit's items it is of, ascending in the order in which they were made;
  /// results may be added in any order.
  void add_result(int stage, const stages::Unit& unit, stages::Json value, std::uint64_t part = 0);
  /// `stage`: index in the graph or GraphStage::kInputs.
  void add_error(int stage, std::shared_ptr<const stages::Unit> unit, std::string code, std::string message);

  /// Everything, sorted. The builder is empty afterwards.
  stages::InputResult finish();

 private:
  /// Where a unit stands among all: the stage that cut it, then its index.
  using UnitKey = std::pair<int, int>;
  struct UnitState {
    std::shared_ptr<const stages::Unit> unit;  ///< null: named by a frame or an error alone
    std::vector<double> frame_times_s;
    std::map<int, std::map<std::uint64_t, stages::Json>> results;  ///< by stage, then part
    int attempts = 0;
    bool failed = false;
  };
  struct Error {
    UnitKey key;
    int stage = 0;
    stages::ErrorRecord record;
  };

  UnitKey key_of(const stages::Unit& unit) const;
  stages::Json joined(int stage, const std::shared_ptr<const stages::Unit>& unit,
                      std::map<std::uint64_t, stages::Json> parts);
  void add_merged(stages::InputResult& result);

  const Graph& graph_;
  std::shared_ptr<const stages::InputFile> input_;
  bool taken_ = false;
  std::map<UnitKey, UnitState> units_;
  std::vector<Error> errors_;
};

}  // namespace reelfolio::pipeline
