#include "engine/thread_placement.h"

#include <linux/mempolicy.h>
#include <omp.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <utility>

namespace reelfolio::engine {

namespace {

constexpr int kMostProcessors = 8192;
constexpr int kMostNodes = 1024;

struct FreeCpuSet {
  void operator()(cpu_set_t* set) const { CPU_FREE(set); }
};
using CpuSet = std::unique_ptr<cpu_set_t, FreeCpuSet>;
const std::size_t kCpuSetBytes = CPU_ALLOC_SIZE(kMostProcessors);

std::vector<int> allowed_processors() {
  const CpuSet set(CPU_ALLOC(kMostProcessors));
  std::vector<int> cpus;
  if (!set || ::sched_getaffinity(0, kCpuSetBytes, set.get()) != 0) return cpus;
  for (int cpu = 0; cpu < kMostProcessors; ++cpu) {
    if (CPU_ISSET_S(static_cast<std::size_t>(cpu), kCpuSetBytes, set.get())) cpus.push_back(cpu);
  }
  return cpus;
}

/// Numbers in a list as the system writes it: "0-3,8,10-11". What is no list gives what came before.
std::vector<int> numbers_in(const std::string& list) {
  std::vector<int> numbers;
  const char* at = list.c_str();
  while (*at >= '0' && *at <= '9') {
    char* end = nullptr;
    const long first = std::strtol(at, &end, 10);
    long last = first;
    if (*end == '-') last = std::strtol(end + 1, &end, 10);
    if (last < first || last >= kMostProcessors) break;
    for (long n = first; n <= last; ++n) numbers.push_back(static_cast<int>(n));
    at = *end == ',' ? end + 1 : end;
  }
  return numbers;
}

std::string first_line(const std::string& path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

/// "0-3,8" of sorted numbers.
std::string list_text(std::vector<int> numbers) {
  std::sort(numbers.begin(), numbers.end());
  std::string text;
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    text += (text.empty() ? "" : ",") + std::to_string(numbers[i]);
    if (last > i) text += "-" + std::to_string(numbers[last]);
    i = last + 1;
  }
  return text;
}

std::size_t node_count(std::span<const Processor> processors) {
  std::set<int> nodes;
  for (const Processor& processor : processors) nodes.insert(processor.node);
  return nodes.size();
}

}  // namespace

std::string_view pinning_name(Pinning pinning) {
  return pinning == Pinning::automatic ? "auto" : pinning == Pinning::on ? "on" : "off";
}

std::optional<Pinning> find_pinning(std::string_view name) {
  for (const Pinning pinning : {Pinning::automatic, Pinning::on, Pinning::off}) {
    if (pinning_name(pinning) == name) return pinning;
  }
  return std::nullopt;
}

std::vector<Processor> usable_processors(const std::string& root) {
  std::map<int, int> node_of;
  for (const int node : numbers_in(first_line(root + "/node/online"))) {
    for (const int cpu : numbers_in(first_line(root + "/node/node" + std::to_string(node) + "/cpulist"))) {
      node_of[cpu] = node;
    }
  }
  std::vector<Processor> processors;
  for (const int cpu : allowed_processors()) {
    Processor processor{cpu, cpu, 0};
    const std::vector<int> siblings =
        numbers_in(first_line(root + "/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list"));
    // The first of those that share a core stands for it.
    if (!siblings.empty()) processor.core = siblings.front();
    if (const auto node = node_of.find(cpu); node != node_of.end()) processor.node = node->second;
    processors.push_back(processor);
  }
  return processors;
}

std::vector<int> place_threads(std::span<const Processor> processors, int threads) {
  if (processors.empty() || threads <= 0) return {};
  // Each node's processors: the first of every core, then the second of every core, and so on.
  struct Node {
    std::vector<int> cpus;
    std::size_t cores = 0;
  };
  std::map<int, Node> nodes;
  std::map<int, std::size_t> seen;  // of a core, so far
  std::map<int, std::vector<std::pair<std::size_t, int>>> ranked;
  for (const Processor& processor : processors) {
    const std::size_t rank = seen[processor.core]++;
    ranked[processor.node].emplace_back(rank, processor.cpu);
    if (rank == 0) ++nodes[processor.node].cores;
  }
  for (auto& [node, cpus] : ranked) {
    std::sort(cpus.begin(), cpus.end());
    for (const auto& [rank, cpu] : cpus) nodes[node].cpus.push_back(cpu);
  }
  const auto wanted = static_cast<std::size_t>(threads);
  std::vector<const Node*> used;
  const auto roomy = std::find_if(nodes.begin(), nodes.end(),
                                  [wanted](const auto& entry) { return entry.second.cores >= wanted; });
  if (roomy != nodes.end()) {
    used.push_back(&roomy->second);
  } else {
    for (const auto& [number, node] : nodes) used.push_back(&node);
  }
  std::vector<int> result;
  for (std::size_t n = 0; n < used.size(); ++n) {
    const std::size_t share = wanted * (n + 1) / used.size() - wanted * n / used.size();
    const std::vector<int>& cpus = used[n]->cpus;
    for (std::size_t i = 0; i < share; ++i) result.push_back(cpus[i % cpus.size()]);
  }
  return result;
}

std::string pin_threads(Pinning pinning, int threads) {
  constexpr const char* kNothing = "not pinned";
  if (pinning == Pinning::off) return kNothing;
  const std::vector<Processor> processors = usable_processors();
  if (pinning == Pinning::automatic && node_count(processors) < 2) return kNothing;
  const std::vector<int> places = place_threads(processors, threads);
  if (places.empty()) return kNothing;
  bool refused = false;
#pragma omp parallel num_threads(threads) reduction(|| : refused)
  {
    const CpuSet set(CPU_ALLOC(kMostProcessors));
    if (!set) {
      refused = true;
    } else {
      CPU_ZERO_S(kCpuSetBytes, set.get());
      CPU_SET_S(static_cast<std::size_t>(places[static_cast<std::size_t>(omp_get_thread_num())]),
                kCpuSetBytes, set.get());
      refused = ::sched_setaffinity(0, kCpuSetBytes, set.get()) != 0;
    }
  }
  return (refused ? "pinning was refused in part: processors " : "pinned to processors ") + list_text(places);
}

InterleavedMemory::InterleavedMemory(bool wanted) {
  const std::vector<Processor> processors = wanted ? usable_processors() : std::vector<Processor>{};
  if (node_count(processors) < 2) return;
  std::array<unsigned long, kMostNodes / (8 * sizeof(unsigned long))> mask{};
  for (const Processor& processor : processors) {
    constexpr int kBits = 8 * sizeof(unsigned long);
    if (processor.node < kMostNodes) mask[processor.node / kBits] |= 1UL << (processor.node % kBits);
  }
  active_ = ::syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, mask.data(), kMostNodes) == 0;
}

InterleavedMemory::~InterleavedMemory() {
  if (active_) ::syscall(SYS_set_mempolicy, MPOL_DEFAULT, nullptr, 0);
}

}  // namespace reelfolio::engine
