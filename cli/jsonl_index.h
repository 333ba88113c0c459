#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace reelfolio::cli {

/// Where the lines of each input stand in a finished output of `run`. Holds names and places;
/// lines are read when they are asked for. One thread.
class JsonlIndex {
 public:
  struct Input {
    std::string name;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };

  /// Throws pipeline::ConfigError with file and line for what is no such output: lines that are no
  /// JSON objects of a type and an input, an input without its closing line, or with two.
  explicit JsonlIndex(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const std::vector<Input>& inputs() const { return inputs_; }
  /// All lines of an input, each ended by '\n'. Throws ConfigError where the file has changed.
  std::string lines(const Input& input);

 private:
  std::filesystem::path path_;
  std::ifstream file_;
  std::vector<Input> inputs_;
};

}  // namespace reelfolio::cli
