#include "cli/cpu_count.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

namespace reelfolio::cli {

namespace {

std::string read_line(const std::filesystem::path& path) {
  std::string line;
  std::getline(std::ifstream(path), line);
  return line;
}

/// The tightest quota of the process's control group and those above it; 0: none.
int cgroup_quota() {
  const std::filesystem::path root = "/sys/fs/cgroup";
  std::ifstream groups("/proc/self/cgroup");
  int tightest = 0;
  const auto note = [&](int quota) {
    if (quota > 0) tightest = tightest == 0 ? quota : std::min(tightest, quota);
  };
  for (std::string line; std::getline(groups, line);) {
    // hierarchy:controllers:path
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool v2 = controllers.empty();
    if (!v2 && ("," + controllers + ",").find(",cpu,") == std::string::npos) continue;
    std::filesystem::path group = line.substr(second + 1);
    for (;; group = group.parent_path()) {
      const std::filesystem::path folder = (v2 ? root : root / "cpu") / group.relative_path();
      if (v2) {
        note(cpu_quota(read_line(folder / "cpu.max")));
      } else {
        note(cpu_quota(read_line(folder / "cpu.cfs_quota_us") + " " +
                       read_line(folder / "cpu.cfs_period_us")));
      }
      if (!group.has_relative_path()) break;
    }
  }
  return tightest;
}

}  // namespace

int cpu_quota(std::string_view cpu_max) {
  const std::size_t space = cpu_max.find(' ');
  if (space == std::string_view::npos) return 0;
  long long quota = 0;
  long long period = 0;
  const auto parse = [](std::string_view text, long long& value) {
    return std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc();
  };
  // "max" and -1 (cgroup v1) mean no quota.
  if (!parse(cpu_max.substr(0, space), quota) || !parse(cpu_max.substr(space + 1), period)) return 0;
  if (quota <= 0 || period <= 0) return 0;
  return static_cast<int>(std::min<long long>((quota + period - 1) / period, 1 << 20));
}

int usable_cpus() {
  int cpus = static_cast<int>(std::thread::hardware_concurrency());
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) cpus = CPU_COUNT(&mask);
  if (const int quota = cgroup_quota(); quota > 0) cpus = std::min(cpus, quota);
  return std::max(cpus, 1);
}

}  // namespace reelfolio::cli
