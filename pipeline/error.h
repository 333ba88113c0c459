#pragma once

#include <stdexcept>
#include <string>

namespace reelfolio::pipeline {

/// A position in the graph file, from 1. Line 0: not from a file (a flag, say).
struct SourceLocation {
  std::string file;
  int line = 0;
  int column = 0;
};

/// A bad flag, a graph that does not parse or cannot run. what() begins with
/// "file:line:column: " where the place is known. Exit code 2; no input was opened.
class ConfigError : public std::runtime_error {
 public:
  explicit ConfigError(const std::string& message) : std::runtime_error(message) {}
  ConfigError(const SourceLocation& where, const std::string& message)
      : std::runtime_error(where.line > 0 ? where.file + ":" + std::to_string(where.line) + ":" +
                                                std::to_string(where.column) + ": " + message
                                          : message) {}
};

}  // namespace reelfolio::pipeline
