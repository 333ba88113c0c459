#include "stages/byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <string>

#include "stages/error.h"
#include "stages/system_message.h"

namespace reelfolio::stages {
namespace {

[[noreturn]] void throw_unreadable(int error) {
  throw ItemError("input.unreadable", "cannot be read: " + system_message(error));
}

}  // namespace

ByteSource::ByteSource(const std::filesystem::path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) throw_unreadable(errno);
  // Opening a fifo, even without blocking, wakes its writer; so look first.
  if (!S_ISREG(info.st_mode)) throw ItemError("input.not_a_file", "is not a regular file");
  fd_ = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd_ < 0) throw_unreadable(errno);
  if (::fstat(fd_, &info) != 0 || !S_ISREG(info.st_mode)) {
    const int error = errno;
    ::close(fd_);
    if (!S_ISREG(info.st_mode)) throw ItemError("input.not_a_file", "is not a regular file");
    throw_unreadable(error);
  }
  size_ = static_cast<std::uint64_t>(info.st_size);
  modified_s_ = info.st_mtim.tv_sec;
  modified_ns_ = info.st_mtim.tv_nsec;
}

ByteSource::~ByteSource() {
  ::close(fd_);
}

std::size_t ByteSource::read(void* to, std::size_t size) noexcept {
  std::size_t done = 0;
  while (done < size) {
    // off_t is signed; formats hold 64-bit offsets that no file reaches.
    if (position_ > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max()) - size) {
      hit_end_ = true;
      break;
    }
    const ssize_t got =
        ::pread(fd_, static_cast<char*>(to) + done, size - done, static_cast<off_t>(position_));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && error_ == 0) error_ = errno;
    if (got == 0) hit_end_ = true;
    if (got <= 0) break;
    done += static_cast<std::size_t>(got);
    position_ += static_cast<std::uint64_t>(got);
  }
  return done;
}

bool ByteSource::changed() const {
  struct stat info {};
  if (::fstat(fd_, &info) != 0) throw_unreadable(errno);
  return static_cast<std::uint64_t>(info.st_size) != size_ || info.st_mtim.tv_sec != modified_s_ ||
         info.st_mtim.tv_nsec != modified_ns_;
}

std::vector<std::uint8_t> ByteSource::read_all(std::uint64_t max_bytes) {
  if (size_ > max_bytes) {
    throw ItemError("image.too_large", "file is " + std::to_string(size_) +
                                           " bytes, more than a picture of the allowed size can need (" +
                                           std::to_string(max_bytes) + ")");
  }
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(size_));
  seek(0);
  bytes.resize(read(bytes.data(), bytes.size()));
  if (failed()) throw_unreadable(error_);
  return bytes;
}

}  // namespace reelfolio::stages
