#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "stages/descriptor.h"

/// What is taken from a process before it opens a file that nobody vouches for.
namespace reelfolio::stages {

struct SandboxLimits {
  std::uint64_t memory_bytes = 0;  ///< beyond what the process has when it is shut in
  double cpu_s = 0;                ///< processor time of all its threads
};

/// Shuts processes in, for good. Made once, by the process that forks them, as much of the work is the same
/// for all. What cannot be had here is left out and named, in words for people; the rest holds.
///
///   limits       memory (left out in builds with sanitizers, which map terabytes), processor time,
///                no file can be made longer, no core file; the system's memory killer
///                takes this process first
///   privileges   none can be gained (no_new_privs)
///   system calls seccomp: no socket, no process, no program, no writing open, no signal to others
///   files        Landlock: the input and `readable` may be read, and what libraries need
///                (their own files, fonts, /proc/self); nothing can be written, run or listed elsewhere
class Sandbox {
 public:
  Sandbox(const SandboxLimits& limits, const std::vector<std::filesystem::path>& readable);

  /// In a forked process of one thread, before it has anything of an input: all but the files.
  /// Returns what is missing.
  std::vector<std::string> enter();
  /// In the same process, once: from now on `input_fd`'s file (none for -1) is the one that may be read
  /// beside the libraries'. Returns what is missing. The object is of no further use there.
  std::vector<std::string> admit(int input_fd);

 private:
  struct Instruction {  ///< sock_filter
    std::uint16_t code;
    std::uint8_t if_true;
    std::uint8_t if_false;
    std::uint32_t value;
  };

  SandboxLimits limits_;
  std::vector<Descriptor> readable_;  ///< of files and folders
  std::vector<Instruction> filter_;   ///< empty: there is no seccomp
  Descriptor ruleset_;                ///< Landlock's, after `enter`
};

}  // namespace reelfolio::stages
