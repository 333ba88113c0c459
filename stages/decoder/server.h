#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "stages/decoder/channel.h"
#include "stages/decoder/decode.h"
#include "stages/decoder/limits.h"

namespace reelfolio::stages {

/// There can be no more decoder processes: a fault of no input.
class DecoderServerError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// How a decoder process ended.
struct ProcessEnd {
  std::int32_t wait_status = 0;  ///< of waitpid; -1: it could not be started, errno_value says why
  std::int32_t errno_value = 0;
};

/// Starts decoder processes, one for each input, each shut in (sandbox.h) and gone with its input. Some are
/// made ahead, while earlier inputs are decoded; they have seen none.
///
/// They are forked by a process that is itself forked here, while this one is still small: it has the
/// stages, but no model, no threads and no open files. It ends with this process, and its
/// children end with it, whatever the signal.
///
/// Any thread may call `start`.
class DecoderServer {
 public:
  /// To be made before this process starts threads or opens what children shall not have. Borrows
  /// `plan`, whose transforms the children use as they are now. `readable`: files that transforms
  /// open beside the input. Throws std::system_error if the system refuses another process.
  DecoderServer(const DecodePlan& plan, const DecoderLimits& limits,
                const std::vector<std::filesystem::path>& readable = {});
  /// Ends it and its children.
  ~DecoderServer();
  DecoderServer(const DecoderServer&) = delete;
  DecoderServer& operator=(const DecoderServer&) = delete;

  const DecodePlan& plan() const { return plan_; }
  const DecoderLimits& limits() const { return limits_; }
  /// Parts of the sandbox that this system does not offer, in words for people.
  const std::vector<std::string>& missing() const { return missing_; }

  /// One started process, seen from its parent. It is ended when this goes.
  struct Process {
    Descriptor socket;  ///< messages
    Descriptor end;     ///< a ProcessEnd comes here, and the process is ended once this is closed
    Descriptor errors;  ///< what it writes to stderr; reading does not block
    SharedMemory memory;
  };
  /// Throws DecoderServerError.
  Process start(int input_fd);

 private:
  const DecodePlan& plan_;
  DecoderLimits limits_;
  std::vector<std::string> missing_;
  std::mutex mutex_;
  Descriptor control_;
  pid_t pid_ = -1;
};

}  // namespace reelfolio::stages
