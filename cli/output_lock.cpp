#include "cli/output_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>
#include <system_error>
#include <utility>

#include "pipeline/names.h"
#include "stages/system_message.h"
#include "stages/write_jsonl.h"

namespace reelfolio::cli {

namespace {

std::filesystem::path lock_path(const std::filesystem::path& output) {
  return stages::partial_path(output).replace_extension(".lock");
}

/// The process id in a lock file; empty if there is none yet.
std::string holder(int descriptor) {
  std::array<char, 32> text{};
  const ssize_t size = pread(descriptor, text.data(), text.size(), 0);
  std::string id;
  for (ssize_t i = 0;
       i < size && text[static_cast<std::size_t>(i)] >= '0' && text[static_cast<std::size_t>(i)] <= '9';
       ++i) {
    id += text[static_cast<std::size_t>(i)];
  }
  return id;
}

bool is_same_file(int descriptor, const std::filesystem::path& path) {
  struct stat open_file {};
  struct stat named {};
  return fstat(descriptor, &open_file) == 0 && stat(path.c_str(), &named) == 0 &&
         open_file.st_dev == named.st_dev && open_file.st_ino == named.st_ino;
}

/// The lock stands beside the output: where it cannot be made, neither can the output.
[[noreturn]] void fail(const std::filesystem::path& output, int error) {
  const std::filesystem::path folder = stages::partial_path(output).parent_path();
  std::error_code ignored;
  std::string why = stages::system_message(error);
  if (error == ENOENT && !folder.empty() && !std::filesystem::exists(folder, ignored))
    why = "there is no folder " + pipeline::in_quotes(folder.string());
  throw stages::OutputError(output.string() + ": cannot be written: " + why, false);
}

}  // namespace

OutputLock::OutputLock(const std::filesystem::path& output) {
  if (output == "-") return;
  struct stat status {};
  if (stat(output.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) return;
  path_ = lock_path(output);
  for (;;) {
    descriptor_ = open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (descriptor_ < 0) fail(output, errno);
    if (flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      const std::string id = holder(descriptor_);
      close(std::exchange(descriptor_, -1));
      if (error != EWOULDBLOCK) fail(output, error);
      throw LockedError(output.string() + " is being written by another run" +
                        (id.empty() ? "" : " (process " + id + ")"));
    }
    // The run that held the lock before may have removed the file between open and flock;
    // then this lock is on a file that nobody else will find.
    if (is_same_file(descriptor_, path_)) break;
    close(descriptor_);
  }
  const std::string id = std::to_string(getpid()) + "\n";
  if (ftruncate(descriptor_, 0) != 0 || pwrite(descriptor_, id.data(), id.size(), 0) < 0) {
    const int error = errno;
    close(std::exchange(descriptor_, -1));
    fail(output, error);
  }
}

void OutputLock::remove_file() const {
  if (descriptor_ >= 0) unlink(path_.c_str());
}

OutputLock::~OutputLock() {
  remove_file();
  if (descriptor_ >= 0) close(descriptor_);
}

bool is_output_locked(const std::filesystem::path& output) {
  const int descriptor = open(lock_path(output).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (descriptor < 0) return false;
  const bool locked = flock(descriptor, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  close(descriptor);
  return locked;
}

}  // namespace reelfolio::cli
