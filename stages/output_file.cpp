#include "stages/output_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <system_error>
#include <utility>

#include "stages/system_message.h"

namespace reelfolio::stages {

namespace {

[[noreturn]] void fail(const std::string& name, int error) {
  throw OutputError(name + ": cannot be written: " + system_message(error), error == EPIPE);
}

/// Where the links of `path` lead; the path itself where nothing is there yet.
std::filesystem::path link_target(const std::filesystem::path& path) {
  std::filesystem::path target = path;
  std::error_code error;
  for (int hops = 0; hops < 40 && std::filesystem::is_symlink(target, error); ++hops) {
    const std::filesystem::path next = std::filesystem::read_symlink(target, error);
    if (error) break;
    target = next.is_absolute() ? next : target.parent_path() / next;
  }
  return target;
}

/// Whether two files hold the same bytes. False where either cannot be read.
bool same_contents(const std::filesystem::path& a, const std::filesystem::path& b) {
  std::array<int, 2> files = {open(a.c_str(), O_RDONLY | O_CLOEXEC), open(b.c_str(), O_RDONLY | O_CLOEXEC)};
  std::array<std::string, 2> blocks;
  bool same = files[0] >= 0 && files[1] >= 0;
  for (bool at_end = false; same && !at_end;) {
    for (std::size_t i = 0; i < files.size(); ++i) {
      blocks[i].resize(std::size_t{1} << 16U);
      std::size_t filled = 0;
      while (same && filled < blocks[i].size()) {
        const ssize_t count = read(files[i], blocks[i].data() + filled, blocks[i].size() - filled);
        if (count < 0) same = errno == EINTR;
        if (count == 0) break;
        if (count > 0) filled += static_cast<std::size_t>(count);
      }
      blocks[i].resize(filled);
    }
    same = same && blocks[0] == blocks[1];
    at_end = blocks[0].empty();
  }
  for (const int file : files) {
    if (file >= 0) close(file);
  }
  return same;
}

}  // namespace

OutputFile::OutputFile(const std::filesystem::path& path) : name_(path.string()) {
  if (path == "-") {
    name_ = "stdout";
    descriptor_ = STDOUT_FILENO;
    return;
  }
  target_ = link_target(path);
  struct stat status {};
  const bool exists = stat(target_.c_str(), &status) == 0;
  if (exists && S_ISDIR(status.st_mode)) fail(name_, EISDIR);
  if (exists && !S_ISREG(status.st_mode)) {
    descriptor_ = open(target_.c_str(), O_WRONLY | O_CLOEXEC);
    if (descriptor_ < 0) fail(name_, errno);
    return;
  }
  partial_ = partial_path(path);
  descriptor_ = open(partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (descriptor_ < 0) fail(partial_.string(), errno);
  if (exists) {
    // The new file takes the place of the old one; so do its permissions. Where they
    // cannot be set (another owner's file) the new file keeps its own.
    [[maybe_unused]] const int ignored = fchmod(descriptor_, status.st_mode & 07777U);
  }
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0 && descriptor_ != STDOUT_FILENO) close(descriptor_);
  if (!partial_.empty() && !finished_ && !written_) unlink(partial_.c_str());
}

void OutputFile::write(std::string_view text) {
  write_all(descriptor_, text, name_);
  written_ = true;
}

void OutputFile::finish() {
  assert(!finished_);
  if (partial_.empty()) {
    finished_ = true;
    if (descriptor_ == STDOUT_FILENO) return;
    const int descriptor = std::exchange(descriptor_, -1);
    if (close(descriptor) != 0) fail(name_, errno);
    return;
  }
  // The contents reach the disk before the name does, and the name before success is
  // reported: a power cut leaves the old file or the new one.
  if (fsync(descriptor_) != 0) fail(name_, errno);
  if (close(std::exchange(descriptor_, -1)) != 0) fail(name_, errno);
  if (same_contents(partial_, target_)) {
    if (unlink(partial_.c_str()) != 0) fail(name_, errno);
    finished_ = true;
    return;
  }
  if (rename(partial_.c_str(), target_.c_str()) != 0) fail(name_, errno);
  finished_ = true;
  const std::filesystem::path folder = target_.parent_path().empty() ? "." : target_.parent_path();
  const int folder_descriptor = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder_descriptor < 0) fail(folder.string(), errno);
  const int synced = fsync(folder_descriptor);
  const int error = errno;
  close(folder_descriptor);
  // Some network file systems do not let folders be synced.
  if (synced != 0 && error != EINVAL && error != EROFS) fail(folder.string(), error);
}

std::filesystem::path partial_path(const std::filesystem::path& path) {
  std::filesystem::path partial = link_target(path);
  partial += ".partial";
  return partial;
}

void write_all(int descriptor, std::string_view text, const std::string& name) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd ready{descriptor, POLLOUT, 0};
      poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      fail(name, errno);
    }
  }
}

}  // namespace reelfolio::stages
