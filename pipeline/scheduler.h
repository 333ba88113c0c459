#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "pipeline/graph.h"
#include "pipeline/progress.h"
#include "stages/stage.h"

/// Runs a Graph over inputs: decoder threads run the transforms of one input each and feed
/// a queue bounded in bytes; the calling thread runs the engine on whole units; finished
/// inputs go to the sink in input order, whatever order they finish in.
namespace reelfolio::pipeline {

struct RunSummary {
  std::size_t inputs = 0;
  std::size_t ok = 0;
  std::size_t partial = 0;
  std::size_t failed = 0;
  std::size_t skipped = 0;
  std::size_t units = 0;
  bool interrupted = false;  ///< stop was requested before the end
  /// Seconds of work and tokens by stage name, for the run report.
  struct StageCost {
    double seconds = 0;
    std::uint64_t items = 0;
    std::uint64_t prompt_tokens = 0;
    std::uint64_t generated_tokens = 0;
  };
  std::map<std::string, StageCost> stage_costs;
};

/// One input as listed, before it is opened. See input_list.h.
struct ListedInput {
  std::filesystem::path path;
  std::string name;   ///< as records show it
  std::string error;  ///< not empty: it cannot be read (missing, no permission); becomes a failed input
};

/// `engine` may be null if the graph has no language stage. Throws OutputError and whatever
/// is not an input's fault; an input's own failures become its records.
RunSummary run_graph(const Graph& graph, const std::vector<ListedInput>& inputs, engine::Engine* engine,
                     stages::Sink& sink, Progress& progress, std::stop_token stop);

}  // namespace reelfolio::pipeline
