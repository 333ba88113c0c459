#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <variant>
#include <vector>

/// Flags as typed. What they come to, together with variables and the graph, is in settings.h.
namespace reelfolio::cli {

/// `reelfolio run`. What is absent was not typed.
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

}  // namespace reelfolio::cli
