#pragma once

#include <string>
#include <vector>

#include "pipeline/graph.h"

/// Names for parts of a graph, so that what hangs on an unchanged part is not made again.
namespace reelfolio::pipeline {

/// For each stage a hash of all that it is (name, type, parameters, contents of files, names of its
/// sources). What it makes of an input depends on those of all stages that the input reaches.
std::vector<std::string> stage_fingerprints(const Graph& graph);

/// The stages that something made of an input of this kind can reach, ascending.
std::vector<int> reached_stages(const Graph& graph, stages::MediaKind media);

}  // namespace reelfolio::pipeline
