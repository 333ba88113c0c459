#pragma once

#include <filesystem>
#include <stdexcept>

namespace reelfolio::cli {

/// Another run is writing this output. Exit code 11.
class LockedError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Keeps two runs from writing one output: a flock on `OUTPUT.lock`, which ends with the
/// process however it ends; the file itself is removed with the object. Nothing is locked
/// for stdout ("-") and for what is not a regular file.
class OutputLock {
 public:
  /// Throws LockedError naming the process that holds the lock, and OutputError.
  explicit OutputLock(const std::filesystem::path& output);
  ~OutputLock();
  OutputLock(const OutputLock&) = delete;
  OutputLock& operator=(const OutputLock&) = delete;

  /// Removes the file, for a process that is about to end without destructors. Any thread.
  void remove_file() const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

/// Whether a run holds the lock just now. Writes nothing.
bool is_output_locked(const std::filesystem::path& output);

}  // namespace reelfolio::cli
