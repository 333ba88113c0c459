#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/temp_folder.h"

/// Runs the built binary, as a user's shell would.
namespace reelfolio::test {

inline const std::string kSamples = REELFOLIO_SOURCE_DIR "/samples";
inline const std::string kModel = kSamples + "/model";
inline const std::string kInbox = kSamples + "/inbox";

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

/// A program that runs beside the test. Its end is waited for by `wait`, or by the destructor,
/// which kills it first.
class RunningProgram {
 public:
  explicit RunningProgram(const Invocation& invocation);
  ~RunningProgram();
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;

  void send(int signal) const;
  bool running();
  Outcome wait();

 private:
  TempFolder folder_;
  std::filesystem::path out_;
  bool keeps_out_ = true;
  int child_ = -1;
  int status_ = 0;
};

/// Waits for the end. The environment holds PATH, HOME and LANG alone, so that a user's
/// REELFOLIO_* variables do not matter.
Outcome run_program(const Invocation& invocation);
Outcome run(std::vector<std::string> arguments);

bool contains(const std::string& text, const std::string& part);

/// The objects of JSONL text.
std::vector<nlohmann::json> json_lines(const std::string& jsonl);

}  // namespace reelfolio::test
