#include "cli/usage.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <string_view>
#include <vector>

#include "pipeline/error.h"
#include "pipeline/names.h"
#include "stages/nearest_name.h"

namespace reelfolio::cli {

namespace {

constexpr const char* kFilesAndQuestion = "FILE... QUESTION";

std::string name_of(const CLI::App& app) {
  // "reelfolio model inspect"
  std::string name = app.get_name();
  for (const CLI::App* parent = app.get_parent(); parent != nullptr; parent = parent->get_parent()) {
    name = parent->get_name() + " " + name;
  }
  return name;
}

/// CLI11's text with kFilesAndQuestion in place of its name there. CLI11 puts three dots behind
/// each name that takes several words.
std::string readable(std::string text) {
  for (const char* dots : {" ...", "...", ""}) {
    const std::string written = std::string(kFilesAndQuestionName) + dots;
    for (std::size_t at = text.find(written); at != std::string::npos; at = text.find(written)) {
      text.replace(at, written.size(), kFilesAndQuestion);
    }
  }
  return text;
}

}  // namespace

std::string help_of(const CLI::App& app) {
  // CLI11 puts the command's own name behind what it is given.
  return readable(app.help(app.get_parent() == nullptr ? "" : name_of(*app.get_parent())));
}

CLI::App& innermost(CLI::App& app) {
  CLI::App* current = &app;
  for (auto chosen = current->get_subcommands(); !chosen.empty(); chosen = current->get_subcommands()) {
    current = chosen.front();
  }
  return *current;
}

void refuse_usage(const CLI::App& app, const std::string& message) {
  throw pipeline::ConfigError(name_of(app) + ": " + message + "\n`" + name_of(app) +
                              " --help` shows what there is");
}

void refuse_command_line(CLI::App& root, const CLI::ParseError& error, int argc, const char* const* argv) {
  const CLI::App& app = innermost(root);
  std::vector<std::string> flags;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
    for (const std::string& name : option->get_snames()) flags.push_back("-" + name);
  }
  std::vector<std::string> commands;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(sub->get_name());
  }
  const bool is_extras = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr;
  const bool is_required = dynamic_cast<const CLI::RequiredError*>(&error) != nullptr;
  for (int i = 1; i < argc && (is_extras || is_required); ++i) {
    const std::string argument = argv[i];
    if (argument == "--") break;
    if (argument.size() < 2 || argument.front() != '-') continue;
    const std::string name = argument.substr(0, argument.find('='));
    if (std::ranges::find(flags, name) == flags.end() && name.starts_with("--")) {
      std::vector<std::string_view> long_names;
      for (const std::string& flag : flags) {
        if (flag.starts_with("--")) long_names.push_back(flag);
      }
      refuse_usage(app,
                   "unknown option " + pipeline::in_quotes(name) + stages::did_you_mean(name, long_names));
    }
    if (is_extras && !name.starts_with("--") && std::ranges::find(flags, name.substr(0, 2)) == flags.end()) {
      refuse_usage(app, "unknown option " + pipeline::in_quotes(name));
    }
  }
  if (!commands.empty()) {
    for (int i = 1; i < argc; ++i) {
      const std::string argument = argv[i];
      if (argument.starts_with("-") || argument == app.get_name()) continue;
      refuse_usage(
          app, "unknown command " + pipeline::in_quotes(argument) + pipeline::suggestion(argument, commands));
    }
    refuse_usage(app, "a command is missing: " + pipeline::joined(commands, " or "));
  }
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    // "--set: 1 required STAGE.KEY=VALUE missing"
    const std::string what = error.what();
    const std::string name = what.substr(0, what.find(':'));
    const CLI::Option* option = app.get_option_no_throw(name);
    if (option != nullptr) refuse_usage(app, name + " needs a value: " + option->get_type_name());
  }
  refuse_usage(app, readable(error.what()));
}

}  // namespace reelfolio::cli
