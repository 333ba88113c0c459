#pragma once

#include <vector>

#include "pipeline/graph.h"

namespace reelfolio::cli {

/// Kinds of unit that several stages of the graph cut: their lines name the stage
/// (write_jsonl.h).
std::vector<stages::UnitKind> kinds_cut_twice(const pipeline::Graph& graph);

}  // namespace reelfolio::cli
