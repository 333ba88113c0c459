#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>

#include "cli/commands.h"
#include "cli/console.h"
#include "engine/constraint/constraint.h"
#include "pipeline/error.h"
#include "stages/system_message.h"

namespace reelfolio::cli {

namespace {

using engine::Constraint;

std::string read_file(const std::filesystem::path& path) {
  const auto refuse = [&](const std::string& why) {
    throw pipeline::ConfigError(path.string() + ": " + why);
  };
  if (std::error_code ignored; std::filesystem::is_directory(path, ignored)) refuse("is a folder");
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) refuse(errno != 0 ? stages::system_message(errno) : "cannot be opened");
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (file.bad()) refuse("cannot be read");
  return text;
}

/// What is supported and what is refused, one keyword a line.
void print_keywords() {
  std::string text;
  for (const engine::SchemaKeyword& keyword : engine::schema_keywords()) {
    text += std::string(keyword.name) + "\t";
    text += !keyword.refused.empty() ? "refused: " + std::string(keyword.refused)
            : keyword.annotation     ? "says nothing about values"
                                     : "supported";
    if (!keyword.limits.empty()) text += ": " + std::string(keyword.limits);
    text += "\n";
  }
  for (const engine::SchemaFormat& format : engine::schema_formats()) {
    text += "format: " + std::string(format.name) + "\tsupported";
    if (!format.limits.empty()) text += ": " + std::string(format.limits);
    text += "\n";
  }
  print(text);
}

/// Prints what the constraint says to a value; true where it admits it.
bool report(const Constraint& constraint, const std::string& name, const std::string& value) {
  try {
    const bool admits = constraint.admits_value(value);
    print(name + ": " + (admits ? "admitted" : "not admitted") + "\n");
    return admits;
  } catch (const std::invalid_argument&) {
    print(name + ": is not JSON\n");
    return false;
  }
}

}  // namespace

ExitCode schema_command(const SchemaFlags& flags) {
  if (flags.keywords) {
    print_keywords();
    return ExitCode::ok;
  }
  std::shared_ptr<const Constraint> constraint;
  try {
    engine::ConstraintOptions options;
    options.closed_objects = flags.closed;
    constraint = Constraint::json_schema(read_file(flags.schema), options);
  } catch (const engine::ConstraintError& error) {
    std::string lines;
    for (const engine::SchemaRefusal& refusal : error.refusals()) {
      lines += flags.schema.string() + "#" + refusal.pointer + ": " + refusal.message + "\n";
    }
    print(lines);
    return ExitCode::usage;
  }
  print(flags.schema.string() + ": supported\n");
  bool all = true;
  for (const std::string& value : flags.values) {
    if (value != "-") {
      all = report(*constraint, value, read_file(value)) && all;
      continue;
    }
    std::size_t number = 0;
    for (std::string line; std::getline(std::cin, line);) {
      all = report(*constraint, std::to_string(++number), line) && all;
    }
  }
  return all ? ExitCode::ok : ExitCode::inputs_failed;
}

}  // namespace reelfolio::cli
