// Kills runs at random moments, as many as are asked for, and says whether anything was lost:
//   build/tests/e2e/reelfolio_kill_harness [KILLS [SEED]]
#include <cstdlib>
#include <iostream>

#include "tests/e2e/kills.h"

int main(int argc, char** argv) {
  const auto kills = static_cast<std::size_t>(argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 200);
  const auto seed = static_cast<unsigned>(argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 1);
  const auto report = reelfolio::test::kill_runs(kills, seed, [](const auto& so_far) {
    std::cout << so_far.kills << " kills, " << so_far.finished << " outputs complete and equal, "
              << so_far.kept_inputs << " inputs kept from killed runs" << std::endl;
  });
  if (report.failure.empty()) return 0;
  std::cerr << "after " << report.kills << " kills: " << report.failure << "\n";
  return 1;
}
