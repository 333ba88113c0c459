#pragma once

#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

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
/// the same result, whatever the locale. Units of the kinds in `name_stage_of` say which
/// stage cut them: in a graph with two such stages the lines would look alike without it.
std::string jsonl_lines(const InputResult& result, const std::vector<UnitKind>& name_stage_of = {});

/// Writes JSONL to `path`, or to stdout for "-". Throws OutputError.
///
/// A file appears under its own name, complete, only when `finish` succeeds; until then its
/// lines stand in `partial_path(path)`, which stays when the run ends early (an empty one is
/// removed) and is overwritten by the next run. A symbolic link stays a link; what is not a
/// regular file (a pipe, a device) is written to directly. stdout and pipes receive each
/// input as it is done.
std::unique_ptr<Sink> make_jsonl_sink(const std::filesystem::path& path,
                                      const std::vector<UnitKind>& name_stage_of = {});

/// "out.jsonl" -> "out.jsonl.partial", beside the file that the output's links lead to.
std::filesystem::path partial_path(const std::filesystem::path& path);

/// Writes all of `text` to a file descriptor; `name` is how messages call it. Waits where
/// the descriptor is non-blocking. Throws OutputError.
void write_all(int descriptor, std::string_view text, const std::string& name);

}  // namespace reelfolio::stages
