#include <csignal>
#include <exception>
#include <new>
#include <variant>

#include "cli/commands.h"
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

ExitCode run(int argc, char** argv) {
  const reelfolio::cli::Console console(reelfolio::cli::LogLevel::error);
  const auto fail = [&](const char* message, ExitCode code) {
    console.error(message);
    return code;
  };
  try {
    return std::visit(Dispatch(), reelfolio::cli::parse_command_line(argc, argv));
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
