#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "cli/console.h"
#include "engine/bench.h"
#include "engine/ops/matmul.h"
#include "pipeline/graph_parser.h"
#include "pipeline/progress_display.h"

/// Flags as typed, then settings: flags win over REELFOLIO_* variables, which win over the
/// graph.
namespace reelfolio::cli {

using pipeline::ProgressMode;

/// Where variables come from; tests pass their own. Empty and unset are the same.
using Environment = std::function<std::string(const std::string& name)>;
Environment process_environment();

/// `reelfolio run`. What is absent was not typed; see `resolve`.
struct RunFlags {
  std::filesystem::path graph;
  std::vector<std::string> inputs;  ///< replace `inputs.paths` of the graph; "-": paths on stdin
  std::optional<std::string> output;
  std::optional<std::string> model;
  std::optional<std::string> weights;
  std::optional<std::string> kv_cache;
  std::vector<std::string> settings;  ///< "stage.key=value", in order
  std::optional<std::string> kernels;
  std::optional<int> threads;
  std::optional<std::string> pin;
  std::optional<int> decoders;
  std::optional<std::size_t> limit;  ///< only the first so many inputs
  std::optional<std::string> shard;  ///< "I/N"
  bool fresh = false;
  bool retry_failed = false;
  bool dry_run = false;
  bool explain = false;
  bool isolate = true;
  std::optional<std::string> progress;
  std::optional<std::string> log_level;
  bool quiet = false;
  std::optional<std::string> password_file;
};

/// `reelfolio check`.
struct CheckFlags {
  std::filesystem::path graph;
  bool dot = false;
  std::vector<std::string> settings;
  std::optional<std::string> password_file;
};

/// `reelfolio ask`.
struct AskFlags {
  std::vector<std::string> files;  ///< in prompt order
  std::string question;
  std::optional<std::string> model;
  std::optional<std::string> weights;
  std::optional<std::string> kv_cache;
  std::optional<std::string> kernels;
  std::optional<int> threads;
  std::optional<std::string> pin;
  std::optional<int> soft_tokens;
  int max_tokens = 256;
  bool thinking = false;
  bool isolate = true;
  bool quiet = false;
  std::optional<std::string> log_level;
  std::optional<std::string> password_file;
};

struct InspectFlags {
  std::filesystem::path model;
};

/// `reelfolio model pack`.
struct PackFlags {
  std::filesystem::path source;
  std::filesystem::path output;
  std::string weights;
  std::string per_layer_table = "keep";
  bool quiet = false;
};

struct TokenizeFlags {
  std::filesystem::path model;
  std::vector<std::string> texts;  ///< {"-"}: JSON strings on stdin, one a line
};

/// `reelfolio schema`.
struct SchemaFlags {
  std::filesystem::path schema;
  std::vector<std::string> values;  ///< JSON files; "-": values on stdin, one a line
  bool closed = false;
  bool keywords = false;  ///< list the keywords instead
};

/// `reelfolio bench`.
struct BenchFlags {
  std::optional<std::string> model;
  std::optional<std::string> synthetic;
  std::optional<std::string> weights;
  std::optional<std::string> kv_cache;
  std::optional<std::string> kernels;
  std::optional<int> threads;
  std::optional<std::string> pin;
  std::optional<int> repeats;
  std::optional<int> context;
  std::vector<std::string> only;
  bool json = false;
  bool quiet = false;
  std::optional<std::string> log_level;
};

/// `reelfolio merge`.
struct MergeFlags {
  std::vector<std::string> shards;
  std::filesystem::path output;
};

/// `reelfolio diff`.
struct DiffFlags {
  std::filesystem::path before;
  std::filesystem::path after;
};

/// Text that was asked for: --help, --version.
struct HelpText {
  std::string text;
};

using CommandLine = std::variant<RunFlags, CheckFlags, AskFlags, InspectFlags, TokenizeFlags, PackFlags,
                                 BenchFlags, SchemaFlags, MergeFlags, DiffFlags, HelpText>;

/// Throws ConfigError that names what is wrong and the nearest valid name.
CommandLine parse_command_line(int argc, const char* const* argv);

/// Settings that no graph has, resolved.
struct ProcessSettings {
  int threads = 1;
  engine::Pinning pinning = engine::Pinning::automatic;
  ProgressMode progress = ProgressMode::automatic;
  std::string kernels = "auto";  ///< for engine::kernels::force_kernels
  LogLevel log_level = LogLevel::info;
  std::filesystem::path password_file;  ///< empty: none
};

/// "I/N": the inputs whose recorded path hashes to the I-th of N shares, I from 1.
struct ShardFlag {
  std::size_t index = 1;
  std::size_t of = 1;
};
/// Throws ConfigError.
ShardFlag parse_shard(const std::string& text);

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
