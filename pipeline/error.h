#pragma once

#include <stdexcept>
#include <string>

namespace reelfolio::pipeline {

/// A position in the graph file, from 1; columns count characters. Line 0: not a place in
/// a file; `file` then names what was given instead ("--set caption.prompt"), or the whole
/// file, or is empty.
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
      : std::runtime_error(prefix(where) + message) {}

 private:
  static std::string prefix(const SourceLocation& where) {
    if (where.file.empty()) return {};
    if (where.line <= 0) return where.file + ": ";
    return where.file + ":" + std::to_string(where.line) + ":" + std::to_string(where.column) + ": ";
  }
};

}  // namespace reelfolio::pipeline
