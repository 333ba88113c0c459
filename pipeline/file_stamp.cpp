#include "pipeline/file_stamp.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <ctime>

namespace reelfolio::pipeline {

namespace {

/// File systems and kernels keep times no finer than this.
constexpr std::int64_t kClockResolutionNs = 2'000'000'000;

std::int64_t nanoseconds(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

std::string file_stamp(const std::filesystem::path& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return {};
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  const std::int64_t newest = std::max(nanoseconds(status.st_mtim), nanoseconds(status.st_ctim));
  if (nanoseconds(now) - newest < kClockResolutionNs) return {};
  std::string stamp;
  for (const std::int64_t part :
       {static_cast<std::int64_t>(status.st_size), nanoseconds(status.st_mtim), nanoseconds(status.st_ctim),
        static_cast<std::int64_t>(status.st_dev), static_cast<std::int64_t>(status.st_ino)}) {
    stamp += std::to_string(part) + " ";
  }
  return stamp;
}

}  // namespace reelfolio::pipeline
