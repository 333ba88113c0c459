#include "stages/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <string>

#include "stages/descriptor.h"
#include "stages/system_message.h"
#include "stages/write_jsonl.h"

namespace reelfolio::stages {

namespace {

[[noreturn]] void fail(const std::filesystem::path& path, int error) {
  throw OutputError(path.string() + ": cannot be written: " + system_message(error), false);
}

}  // namespace

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  std::filesystem::path folder = path.parent_path();
  if (folder.empty()) folder = ".";
  std::string temporary = (folder / ("." + path.filename().string() + ".XXXXXX")).string();
  {
    const Descriptor file(::mkostemp(temporary.data(), O_CLOEXEC));
    if (file.get() < 0) fail(path, errno);
    int error = 0;
    for (std::size_t done = 0; done < text.size() && error == 0;) {
      const ssize_t wrote = ::write(file.get(), text.data() + done, text.size() - done);
      if (wrote >= 0) {
        done += static_cast<std::size_t>(wrote);
      } else if (errno != EINTR) {
        error = errno;
      }
    }
    // mkostemp makes files that only their owner reads; this one is as public as any other.
    const mode_t mask = ::umask(0);
    ::umask(mask);
    if (error == 0 && ::fchmod(file.get(), 0666 & ~mask) != 0) error = errno;
    if (error == 0 && ::fsync(file.get()) != 0) error = errno;
    if (error == 0 && ::rename(temporary.c_str(), path.c_str()) != 0) error = errno;
    if (error != 0) {
      ::unlink(temporary.c_str());
      fail(path, error);
    }
  }
  const Descriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0 || (::fsync(directory.get()) != 0 && errno != EINVAL)) fail(path, errno);
}

}  // namespace reelfolio::stages
