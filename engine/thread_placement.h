#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Which processors the engine's threads run on, for servers with many cores or several memory nodes.
namespace reelfolio::engine {

/// automatic: `on` where this process may use more than one memory node, else `off`. A thread that stays
/// where it is finds its share of the weights in memory nearby; with one node there is nothing to gain, and
/// on a machine that others use a thread that may not move waits for them.
enum class Pinning { automatic, on, off };

/// "auto", "on", "off": the words of --pin.
std::string_view pinning_name(Pinning pinning);
std::optional<Pinning> find_pinning(std::string_view name);

/// A processor that this process may use.
struct Processor {
  int cpu = 0;   ///< number in the system
  int core = 0;  ///< the same for processors that share a core, unlike any of another core
  int node = 0;  ///< its memory node
};

/// Those that the affinity mask allows, by number; `root` stands for /sys/devices/system.
std::vector<Processor> usable_processors(const std::string& root = "/sys/devices/system");

/// One processor for each thread: cores of their own as long as there are any, those of a node side by
/// side, so that neighbouring threads, which have neighbouring rows of each matrix, share its memory. Threads
/// that fit on one node's cores stay there; more are shared out evenly. Empty without processors.
std::vector<int> place_threads(std::span<const Processor> processors, int threads);

/// Binds each of `threads` OpenMP threads of the caller's team to a processor of its own, where `pinning`
/// asks for it. Returns what was done, for logs: "pinned to processors 0-3,8", or "not pinned".
std::string pin_threads(Pinning pinning, int threads);

/// While it lives, memory that this thread (and pages of files that it is first to read) takes comes from all
/// memory nodes in turn: for weights that every thread reads in part, where nobody can say beforehand
/// which. Does nothing where there is one node, or the system refuses.
class InterleavedMemory {
 public:
  explicit InterleavedMemory(bool wanted);
  ~InterleavedMemory();
  InterleavedMemory(const InterleavedMemory&) = delete;
  InterleavedMemory& operator=(const InterleavedMemory&) = delete;

 private:
  bool active_ = false;
};

}  // namespace reelfolio::engine
