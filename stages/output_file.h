#pragma once

#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>

namespace reelfolio::stages {

/// The output cannot be written. `closed_pipe` is set when the reader has gone (EPIPE):
/// the run ends quietly then.
class OutputError : public std::runtime_error {
 public:
  OutputError(const std::string& message, bool closed_pipe_)
      : std::runtime_error(message), closed_pipe(closed_pipe_) {}
  bool closed_pipe;
};

/// A file that is written as a whole, or stdout for "-". Throws OutputError.
///
/// A file appears under its own name, complete, only when `finish` succeeds; until then its contents
/// stand in `partial_path(path)`, which stays when the run ends early (an empty one is
/// removed) and is overwritten by the next run. One that holds the same bytes already is left as it
/// is. A symbolic link stays a link; what is not a regular file (a pipe, a device) is written to directly.
class OutputFile {
 public:
  explicit OutputFile(const std::filesystem::path& path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::string_view text);
  /// Everything is written: make it durable and give it its name.
  void finish();

 private:
  std::string name_;  ///< for messages
  int descriptor_ = -1;
  std::filesystem::path target_;
  std::filesystem::path partial_;  ///< empty: written directly
  bool written_ = false;
  bool finished_ = false;
};

/// "out.jsonl" -> "out.jsonl.partial", beside the file that the output's links lead to.
std::filesystem::path partial_path(const std::filesystem::path& path);

/// Writes all of `text` to a file descriptor; `name` is how messages call it. Waits where
/// the descriptor is non-blocking. Throws OutputError.
void write_all(int descriptor, std::string_view text, const std::string& name);

}  // namespace reelfolio::stages
