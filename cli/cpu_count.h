#pragma once

#include <string_view>

namespace reelfolio::cli {

/// Processors that this process may use: its affinity mask, bounded by the CPU quota of its
/// control group (v1 or v2) rounded up; at least 1.
int usable_cpus();

/// The quota of a cgroup v2 cpu.max ("150000 100000", "max 100000") in processors, rounded
/// up; 0 if there is none or the text is not one.
int cpu_quota(std::string_view cpu_max);

}  // namespace reelfolio::cli
