#include "cli/bench_report.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/settings.h"
#include "pipeline/run_report.h"

namespace reelfolio::cli {

ExitCode bench_command(const BenchFlags& flags) {
  const Environment environment = process_environment();
  const ProcessSettings settings = resolve(flags, environment);
  use_kernels(settings);
  const Console console(settings.log_level);
  const engine::BenchResult result =
      engine::run_bench(resolve_bench(flags, environment),
                        [&](std::string_view what) { console.info("measuring " + std::string(what)); });
  const std::string cpu = pipeline::this_machine().cpu;
  print(flags.json ? bench_json(result, cpu) : bench_table(result, cpu));
  return ExitCode::ok;
}

}  // namespace reelfolio::cli
