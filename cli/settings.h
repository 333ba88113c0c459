#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "cli/console.h"
#include "cli/options.h"
#include "engine/bench.h"
#include "engine/ops/matmul.h"
#include "pipeline/graph_parser.h"
#include "pipeline/progress_display.h"

/// Settings out of flags as typed: flags win over REELFOLIO_* variables, which win over the graph.
namespace reelfolio::cli {

using pipeline::ProgressMode;

/// Where variables come from; tests pass their own. Empty and unset are the same.
using Environment = std::function<std::string(const std::string& name)>;
Environment process_environment();

/// Settings that no graph has, resolved.
struct ProcessSettings {
  int threads = 1;
  engine::Pinning pinning = engine::Pinning::automatic;
  ProgressMode progress = ProgressMode::automatic;
  std::string kernels = "auto";  ///< for engine::kernels::force_kernels
  LogLevel log_level = LogLevel::info;
  std::filesystem::path password_file;  ///< empty: none
};

/// Makes the engine use the kernels that the settings name. Before any model is loaded. Throws
/// ConfigError where this processor lacks them.
void use_kernels(const ProcessSettings& settings);

/// Throws ConfigError about a variable, named, that is no valid value.
ProcessSettings resolve(const RunFlags& flags, const Environment& environment);
ProcessSettings resolve(const AskFlags& flags, const Environment& environment);
ProcessSettings resolve(const BenchFlags& flags, const Environment& environment);
std::filesystem::path resolve_password_file(const std::optional<std::string>& flag,
                                            const Environment& environment);

/// Puts variables, then `--set`, then the flags that have a place in the graph over `spec`.
/// Throws ConfigError.
void apply_flags(pipeline::GraphSpec& spec, const RunFlags& flags, const Environment& environment);

/// --model, --weights and --kv-cache of `ask`, which has no graph. Throws ConfigError if no model is named.
struct AskModel {
  std::filesystem::path path;
  engine::ops::WeightType weights;
  std::optional<engine::text::KvType> kv_cache;
};
AskModel resolve_model(const AskFlags& flags, const Environment& environment);

/// What `bench` is to do. A model from the environment gives way to --synthetic. Throws ConfigError
/// about a value that is none, and where no model, or two, are named.
engine::BenchOptions resolve_bench(const BenchFlags& flags, const Environment& environment);

}  // namespace reelfolio::cli
