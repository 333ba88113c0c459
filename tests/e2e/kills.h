#pragma once

#include <cstddef>
#include <functional>
#include <string>

namespace reelfolio::test {

struct KillReport {
  std::size_t kills = 0;
  std::size_t finished = 0;     ///< runs that were over before they were killed
  std::size_t kept_inputs = 0;  ///< inputs that a run found done by those that were killed before it
  std::string failure;          ///< the first thing that was wrong; empty: nothing
};

/// Runs the program over a mixed batch of pictures, PDFs and broken files with the sample model and
/// kills it (SIGKILL to it alone) `kills` times at random moments. Runs of a series share an output until one
/// is complete; its bytes are then compared with those of a run that nothing disturbed, and a new series
/// begins. `tell` hears of each series that is complete.
KillReport kill_runs(std::size_t kills, unsigned seed,
                     const std::function<void(const KillReport&)>& tell = {});

}  // namespace reelfolio::test
