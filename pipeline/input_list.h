#pragma once

#include <cstddef>
#include <filesystem>
#include <iosfwd>
#include <optional>
#include <string>
#include <vector>

#include "pipeline/scheduler.h"

/// INPUT arguments (or `inputs.paths`) -> the inputs of a run, in their order.
namespace reelfolio::pipeline {

struct ListOptions {
  /// Glob patterns (fnmatch; `*` also matches '/') for what is found in folders: on the file
  /// name, or, where the pattern holds a '/', on the path below the folder. A folder that
  /// `exclude` matches is not entered. A file that is named itself is always taken.
  std::vector<std::string> include;  ///< empty: every file
  std::vector<std::string> exclude;
  /// This file and what stands beside it under a name that begins with its name and a dot (the partial
  /// output, the run report, the ledger, the folder of subtitles) is no input when found in a folder. May be
  /// empty.
  std::filesystem::path output;
  std::optional<std::size_t> limit;  ///< the first so many
};

/// The share, from 0 to shards - 1, that an input of this name (ListedInput::name) belongs to: the first
/// eight bytes of the name's SHA-256, most significant first, modulo shards.
std::size_t shard_of(const std::string& name, std::size_t shards);

/// Lists the arguments in order: a file is itself; a folder is walked recursively, its files
/// sorted by the bytes of their paths; "-" stands for the paths on `standard_input`, separated by
/// NUL if it holds any, else by newline (once; "./-" is a file of that name).
///
/// In folders, hidden files and folders are left out, links to files are taken, links to folders
/// are not followed, and what is neither file nor folder is left out. A path that comes up
/// twice is listed once. What is missing or cannot be walked is listed with its `error`.
std::vector<ListedInput> list_inputs(const std::vector<std::filesystem::path>& arguments,
                                     const ListOptions& options, std::istream& standard_input);

}  // namespace reelfolio::pipeline
