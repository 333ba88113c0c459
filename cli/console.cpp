#include "cli/console.h"

#include <unistd.h>

#include <algorithm>
#include <string>

#include "pipeline/names.h"
#include "stages/write_jsonl.h"

namespace reelfolio::cli {

namespace {

void write_to_stderr(const std::string& text) {
  // One write, so that lines of several threads do not mix. Nothing can be done about a
  // stderr that is closed.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace

void Console::say(LogLevel level, std::string_view message) const {
  if (!shows(level)) return;
  write_to_stderr("reelfolio: " + pipeline::printable(message) + "\n");
}

void print_error(std::string_view message) {
  std::string text;
  for (std::size_t start = 0; start <= message.size();) {
    const std::size_t end = std::min(message.find('\n', start), message.size());
    text += pipeline::printable(message.substr(start, end - start)) + "\n";
    start = end + 1;
  }
  write_to_stderr(text);
}

void print(std::string_view text) {
  stages::write_all(STDOUT_FILENO, text, "stdout");
}

}  // namespace reelfolio::cli
