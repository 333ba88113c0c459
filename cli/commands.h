#pragma once

#include "cli/exit_code.h"
#include "cli/options.h"

/// One function for each command. They throw ConfigError, ModelError, OutputError and
/// LockedError; main turns those into exit codes.
namespace reelfolio::cli {

ExitCode run_command(const RunFlags& flags);
ExitCode check_command(const CheckFlags& flags);
ExitCode ask_command(const AskFlags& flags);
ExitCode inspect_command(const InspectFlags& flags);
ExitCode tokenize_command(const TokenizeFlags& flags);
ExitCode pack_command(const PackFlags& flags);
ExitCode merge_command(const MergeFlags& flags);
ExitCode diff_command(const DiffFlags& flags);
ExitCode bench_command(const BenchFlags& flags);
ExitCode schema_command(const SchemaFlags& flags);

}  // namespace reelfolio::cli
