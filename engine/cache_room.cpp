#include "engine/cache_room.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "engine/error.h"

namespace reelfolio::engine {

namespace {

constexpr std::uint64_t kUnlimited = std::numeric_limits<std::uint64_t>::max();

/// The number in a file of a control group; unlimited for "max" and where there is no such file.
std::uint64_t read_number(const std::filesystem::path& path) {
  std::uint64_t value = 0;
  return std::ifstream(path) >> value ? value : kUnlimited;
}

std::uint64_t system_available() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  std::uint64_t kilobytes = 0;
  for (std::string rest; file >> key; std::getline(file, rest)) {
    if (key == "MemAvailable:" && file >> kilobytes) return kilobytes * 1024;
  }
  return kUnlimited;
}

/// Of the process's group and those above it the one that leaves least.
std::uint64_t groups_available() {
  std::ifstream groups("/proc/self/cgroup");
  std::uint64_t least = kUnlimited;
  for (std::string line; std::getline(groups, line);) {
    if (!line.starts_with("0::/")) continue;  // version 2 has one line
    const std::filesystem::path root = "/sys/fs/cgroup";
    for (std::filesystem::path group = line.substr(3);; group = group.parent_path()) {
      const std::filesystem::path folder = root / group.relative_path();
      const std::uint64_t limit = read_number(folder / "memory.max");
      const std::uint64_t used = read_number(folder / "memory.current");
      if (limit != kUnlimited && used != kUnlimited) least = std::min(least, limit - std::min(limit, used));
      if (group == group.parent_path()) break;
    }
  }
  return least;
}

}  // namespace

std::optional<std::uint64_t> available_memory_bytes() {
  const std::uint64_t bytes = std::min(system_available(), groups_available());
  return bytes == kUnlimited ? std::nullopt : std::optional(bytes);
}

void require_cache_room(const text::KvLayout& layout, std::size_t positions, std::size_t chunk,
                        std::uint64_t available) {
  const std::uint64_t needed = layout.bytes_for(positions, chunk);
  if (needed <= available) return;
  throw RequestError(std::to_string(positions) + " tokens of prompt and answer need " +
                     std::to_string(needed) + " bytes for keys and values, " + std::to_string(available) +
                     " bytes of memory are available; shorten the prompt or lower max_tokens");
}

}  // namespace reelfolio::engine
