#pragma once

#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>

#include "stages/stage.h"

namespace reelfolio::stages {

/// The output cannot be written. `closed_pipe` is set when the reader has gone (EPIPE):
/// the run ends quietly then.
class OutputError : public std::runtime_error {
 public:
  OutputError(const std::string& message, bool closed_pipe_)
      : std::runtime_error(message), closed_pipe(closed_pipe_) {}
  bool closed_pipe;
};

/// The lines of one input, each ended by '\n' (design.md, "Output"). The same bytes for
/// the same result, whatever the locale.
std::string jsonl_lines(const InputResult& result);

/// Writes JSONL to `path`, or to stdout for "-". A file appears under its own name only
/// when `finish` succeeds (temporary file in the same folder, fsync, rename, fsync of the
/// folder); stdout is flushed after every input. Throws OutputError.
std::unique_ptr<Sink> make_jsonl_sink(const std::filesystem::path& path);

}  // namespace reelfolio::stages
