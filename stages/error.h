#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace reelfolio::stages {

/// One input, page or scene that cannot be processed. The run goes on; the error
/// becomes {"stage","unit","code","message"} in the input's closing line.
class ItemError : public std::runtime_error {
 public:
  /// code: stable and short, "pdf.encrypted", "video.truncated", "input.unreadable";
  /// the full list stands in README.md.
  ItemError(std::string code, const std::string& message)
      : std::runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

/// Code of an input that is written to while it is looked at or decoded.
constexpr const char* kInputChanged = "input.changed";
/// Code of an input that needs more memory than it may have, or than there is.
constexpr const char* kMemoryLimit = "memory.limit";

/// A stage parameter whose value cannot work. The graph turns it into a ConfigError
/// with the line and column of that parameter.
class ParamError : public std::runtime_error {
 public:
  ParamError(std::string param, const std::string& message)
      : std::runtime_error(message), param_(std::move(param)) {}
  const std::string& param() const { return param_; }

 private:
  std::string param_;
};

}  // namespace reelfolio::stages
