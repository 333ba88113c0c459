#include "cli/commands.h"
#include "cli/console.h"
#include "cli/settings.h"
#include "pipeline/graph.h"
#include "pipeline/graph_parser.h"

namespace reelfolio::cli {

ExitCode check_command(const CheckFlags& flags) {
  pipeline::GraphSpec spec = pipeline::parse_graph_file(flags.graph);
  for (const std::string& setting : flags.settings) pipeline::apply_setting(spec, setting);
  const pipeline::Graph graph =
      pipeline::build_graph(spec, resolve_password_file(flags.password_file, process_environment()));
  print(flags.dot ? pipeline::graph_to_dot(graph) : pipeline::graph_to_yaml(graph));
  return ExitCode::ok;
}

}  // namespace reelfolio::cli
