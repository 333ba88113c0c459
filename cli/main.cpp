#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <new>
#include <system_error>
#include <variant>

#include "cli/commands.h"
#include "cli/console.h"
#include "cli/output_lock.h"
#include "engine/error.h"
#include "pipeline/error.h"
#include "stages/write_jsonl.h"

namespace {

using reelfolio::cli::ExitCode;

struct Dispatch {
  ExitCode operator()(const reelfolio::cli::RunFlags& flags) const { return run_command(flags); }
  ExitCode operator()(const reelfolio::cli::CheckFlags& flags) const { return check_command(flags); }
  ExitCode operator()(const reelfolio::cli::AskFlags& flags) const { return ask_command(flags); }
  ExitCode operator()(const reelfolio::cli::InspectFlags& flags) const { return inspect_command(flags); }
  ExitCode operator()(const reelfolio::cli::PackFlags& flags) const { return pack_command(flags); }
  ExitCode operator()(const reelfolio::cli::TokenizeFlags& flags) const { return tokenize_command(flags); }
  ExitCode operator()(const reelfolio::cli::BenchFlags& flags) const { return bench_command(flags); }
  ExitCode operator()(const reelfolio::cli::SchemaFlags& flags) const { return schema_command(flags); }
  ExitCode operator()(const reelfolio::cli::MergeFlags& flags) const { return merge_command(flags); }
  ExitCode operator()(const reelfolio::cli::DiffFlags& flags) const { return diff_command(flags); }
  ExitCode operator()(const reelfolio::cli::HelpText& help) const {
    reelfolio::cli::print(help.text);
    return ExitCode::ok;
  }
};

/// Rounds for which OpenMP's threads spin before they sleep. libgomp's own choice comes to about a
/// millisecond: where other processes keep the cores busy, each meeting of the threads then lasts
/// until the next time slice, and small models take many times as long.
constexpr const char* kSpinRounds = "1000";

/// libgomp reads its environment before `main`, so the program starts itself once more, unless
/// people have set how threads wait. Goes on as it is where that fails (no /proc).
void limit_spinning(char** argv) {
  for (const char* name : {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}) {
    if (std::getenv(name) != nullptr) return;
  }
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return;
  ::setenv("GOMP_SPINCOUNT", kSpinRounds, 1);
  ::execv(program.c_str(), argv);
}

bool uses_engine(const reelfolio::cli::CommandLine& command) {
  return std::holds_alternative<reelfolio::cli::RunFlags>(command) ||
         std::holds_alternative<reelfolio::cli::AskFlags>(command) ||
         std::holds_alternative<reelfolio::cli::BenchFlags>(command);
}

ExitCode run(int argc, char** argv) {
  const reelfolio::cli::Console console(reelfolio::cli::LogLevel::error);
  const auto fail = [&](const char* message, ExitCode code) {
    console.error(message);
    return code;
  };
  try {
    const reelfolio::cli::CommandLine command = reelfolio::cli::parse_command_line(argc, argv);
    if (uses_engine(command)) limit_spinning(argv);
    return std::visit(Dispatch(), command);
  } catch (const reelfolio::pipeline::ConfigError& error) {
    reelfolio::cli::print_error(error.what());
    return ExitCode::usage;
  } catch (const reelfolio::engine::ModelError& error) {
    return fail(error.what(), ExitCode::model);
  } catch (const reelfolio::stages::OutputError& error) {
    return error.closed_pipe ? ExitCode::output : fail(error.what(), ExitCode::output);
  } catch (const reelfolio::cli::LockedError& error) {
    return fail(error.what(), ExitCode::locked);
  } catch (const std::bad_alloc&) {
    return fail("out of memory", ExitCode::internal);
  } catch (const std::exception& error) {
    return fail(error.what(), ExitCode::internal);
  }
}

}  // namespace

int main(int argc, char** argv) {
  // A reader that has gone shows as EPIPE where it happens.
  std::signal(SIGPIPE, SIG_IGN);
  return static_cast<int>(run(argc, argv));
}
