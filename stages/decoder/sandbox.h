#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

/// What is taken from a process before it opens a file that nobody vouches for.
namespace reelfolio::stages {

struct SandboxLimits {
  std::uint64_t memory_bytes = 0;  ///< beyond what the process has when it is shut in
  double cpu_s = 0;                ///< processor time of all its threads
};

/// Shuts the calling process in, for good. What cannot be had here is left out and named in the
/// result, in words for people; the rest holds.
///
///   limits       memory (left out in builds with sanitizers, which map terabytes), processor time,
///                no file can be made longer, no core file; the system's memory killer
///                takes this process first
///   privileges   none can be gained (no_new_privs)
///   files        Landlock: `input_fd`'s file and `readable` may be read, and what libraries need
///                (their own files, fonts, /proc/self); nothing can be written, run or listed elsewhere
///   system calls seccomp: no socket, no process, no program, no writing open, no signal to others
///
/// The process has one thread.
std::vector<std::string> shut_in(const SandboxLimits& limits, int input_fd,
                                 const std::vector<std::filesystem::path>& readable);

}  // namespace reelfolio::stages
