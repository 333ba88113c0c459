#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "pipeline/graph.h"
#include "stages/stage.h"

/// Graph YAML from anywhere: a graph or a ConfigError, never anything else.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace reelfolio;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const pipeline::GraphSpec spec = pipeline::parse_graph(text, "graph.yaml");
    const pipeline::Graph graph = pipeline::build_graph(spec);
    // What was accepted prints as a graph that is accepted too.
    const std::string printed = pipeline::graph_to_yaml(graph);
    const pipeline::Graph again = pipeline::build_graph(pipeline::parse_graph(printed, "graph.yaml"));
    if (pipeline::graph_to_yaml(again) != printed) __builtin_trap();
  } catch (const pipeline::ConfigError&) {
  }
  return 0;
}
