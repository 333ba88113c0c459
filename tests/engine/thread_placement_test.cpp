#include "engine/thread_placement.h"

#include <sched.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <thread>
#include <vector>

#include "engine/ops/matmul.h"
#include "tests/support/catch.h"
#include "tests/support/temp_folder.h"

using namespace reelfolio::engine;  // NOLINT: a test of this header
using reelfolio::test::TempFolder;

namespace {

/// A server: processors of a core are `cores` apart in number, as Linux counts them on most.
std::vector<Processor> server(int nodes, int cores_of_node, int threads_of_core) {
  std::vector<Processor> processors;
  const int cores = nodes * cores_of_node;
  for (int cpu = 0; cpu < cores * threads_of_core; ++cpu) {
    processors.push_back({cpu, cpu % cores, cpu % cores / cores_of_node});
  }
  return processors;
}

}  // namespace

TEST_CASE("placement: every thread has a core of its own as long as there are cores") {
  for (const int nodes : {1, 2, 4}) {
    for (const int threads_of_core : {1, 2}) {
      const auto machine = server(nodes, 16, threads_of_core);
      for (int threads = 1; threads <= 16 * nodes; ++threads) {
        const auto places = place_threads(machine, threads);
        REQUIRE(places.size() == static_cast<std::size_t>(threads));
        std::set<int> cores;
        for (const int cpu : places) cores.insert(machine[static_cast<std::size_t>(cpu)].core);
        CHECK(cores.size() == places.size());
      }
    }
  }
}

TEST_CASE("placement: threads that fit stay on one node, others are shared out in order of their numbers") {
  const auto machine = server(2, 4, 2);
  CHECK(place_threads(machine, 3) == std::vector<int>{0, 1, 2});
  CHECK(place_threads(machine, 4) == std::vector<int>{0, 1, 2, 3});
  CHECK(place_threads(machine, 6) == std::vector<int>{0, 1, 2, 4, 5, 6});
  CHECK(place_threads(machine, 8) == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7});
  // Beyond the cores, their second processors.
  CHECK(place_threads(machine, 10) == std::vector<int>{0, 1, 2, 3, 8, 4, 5, 6, 7, 12});
  // More threads than processors: some share.
  const auto crowded = place_threads(machine, 20);
  CHECK(crowded.size() == 20);
  CHECK(std::set<int>(crowded.begin(), crowded.end()).size() == 16);
  CHECK(place_threads({}, 4).empty());
}

TEST_CASE(
    "placement: what the system says of its processors is read, and where it says nothing they are cores") {
  const auto allowed = usable_processors("/nowhere");
  REQUIRE_FALSE(allowed.empty());
  for (const Processor& processor : allowed) {
    CHECK(processor.core == processor.cpu);
    CHECK(processor.node == 0);
  }
  const TempFolder system;
  const auto write = [&system](const std::string& path, const std::string& text) {
    std::filesystem::create_directories((system.path() / path).parent_path());
    std::ofstream(system.path() / path) << text << "\n";
  };
  const std::string first = std::to_string(allowed.front().cpu);
  write("node/online", "0,3");
  write("node/node0/cpulist", "");
  write("node/node3/cpulist", first + "-" + std::to_string(allowed.back().cpu));
  write("cpu/cpu" + std::to_string(allowed.back().cpu) + "/topology/thread_siblings_list",
        first + "," + std::to_string(allowed.back().cpu));
  const auto found = usable_processors(system.path().string());
  CHECK(found.back().core == allowed.front().cpu);
  for (const Processor& processor : found) CHECK(processor.node == 3);
}

TEST_CASE("placement: pinned threads stay where they were put, until the thread ends") {
  CHECK(pin_threads(Pinning::off, 2) == "not pinned");
  // In a thread of its own: its affinity and its team go with it.
  std::thread([] {
    ops::set_num_threads(2);
    const auto places = place_threads(usable_processors(), 2);
    CHECK(pin_threads(Pinning::on, 2).find("pinned to processors ") == 0);
    cpu_set_t own;
    REQUIRE(sched_getaffinity(0, sizeof own, &own) == 0);
    CHECK(CPU_COUNT(&own) == 1);
    CHECK(CPU_ISSET(static_cast<std::size_t>(places.front()), &own));
  }).join();
}

TEST_CASE("placement: words") {
  for (const Pinning pinning : {Pinning::automatic, Pinning::on, Pinning::off}) {
    CHECK(find_pinning(pinning_name(pinning)) == pinning);
  }
  CHECK_FALSE(find_pinning("yes"));
}
