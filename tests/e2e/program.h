#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

/// Runs the built binary, as a user's shell would.
namespace reelfolio::testing {

struct Outcome {
  int status = -1;  ///< exit code, or 128 + signal
  std::string out;
  std::string err;
};

struct Invocation {
  std::vector<std::string> arguments;
  std::string input{};                             ///< stdin
  std::map<std::string, std::string> variables{};  ///< beside a clean environment
  std::filesystem::path folder{};                  ///< working folder; empty: the source tree
  std::filesystem::path stdout_path{};             ///< where stdout goes instead of `out`
};

/// Waits for the end. The environment holds PATH, HOME and LANG alone, so that a user's
/// REELFOLIO_* variables do not matter.
Outcome run_program(const Invocation& invocation);

/// A folder under the temporary one, gone with the object.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  /// Writes a file in it and returns its path.
  std::filesystem::path write(const std::string& name, const std::string& text) const;

 private:
  std::filesystem::path path_;
};

std::string read_file(const std::filesystem::path& path);

}  // namespace reelfolio::testing
