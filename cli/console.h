#pragma once

#include <string>
#include <string_view>

/// What the program says beside its data: stderr for people, stdout for data.
namespace reelfolio::cli {

enum class LogLevel { error, warning, info, debug };

/// Messages on stderr, one a line, begun with "reelfolio: ". Control characters in them are
/// made harmless. Any thread.
class Console {
 public:
  explicit Console(LogLevel level) : level_(level) {}
  bool shows(LogLevel level) const { return level <= level_; }
  void error(std::string_view message) const { say(LogLevel::error, message); }
  void warning(std::string_view message) const { say(LogLevel::warning, message); }
  void info(std::string_view message) const { say(LogLevel::info, message); }
  void debug(std::string_view message) const { say(LogLevel::debug, message); }

 private:
  void say(LogLevel level, std::string_view message) const;
  LogLevel level_;
};

/// Writes a message that names its own origin ("graph.yaml:7:12: ...") to stderr; its
/// newlines stay.
void print_error(std::string_view message);

/// Writes `text` to stdout at once. Throws OutputError.
void print(std::string_view text);

}  // namespace reelfolio::cli
