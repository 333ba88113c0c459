#include "cli/console.h"
#include "engine/inspect.h"

#include "cli/commands.h"

namespace reelfolio::cli {

ExitCode inspect_command(const InspectFlags& flags) {
  const engine::ModelInspection inspection = engine::inspect_model(flags.model);
  print(engine::inspection_text(inspection));
  return inspection.usable() ? ExitCode::ok : ExitCode::model;
}

}  // namespace reelfolio::cli
