#pragma once

#include <string>

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

/// How commands are used, in words for people: help texts, and what is wrong with a command line. CLI11 has
/// the options.
namespace reelfolio::cli {

/// The name under which CLI11 knows the arguments of `ask`: 2.4 takes no spaces in a name. Help texts and
/// messages say "FILE... QUESTION".
inline constexpr const char* kFilesAndQuestionName = "FILE..QUESTION";

/// The help text of a command.
std::string help_of(const CLI::App& app);

/// The subcommand that parsed arguments lead to.
CLI::App& innermost(CLI::App& app);

/// Throws ConfigError: the name of the command, what is wrong, and where the help is.
[[noreturn]] void refuse_usage(const CLI::App& app, const std::string& message);

/// Throws ConfigError that says what is wrong with a command line that CLI11 has refused, and names the
/// nearest option or command.
[[noreturn]] void refuse_command_line(CLI::App& root, const CLI::ParseError& error, int argc,
                                      const char* const* argv);

}  // namespace reelfolio::cli
