#include "engine/prefix_tree.h"

#include <algorithm>
#include <cassert>
#include <numeric>

namespace reelfolio::engine {

namespace {

using Prompts = std::span<const std::vector<std::uint64_t>>;

/// Requests first .. last - 1 of an order in which equal prefixes stand together; they
/// agree up to `agreed`, of which `covered` positions lie in `parent` and above.
struct Group {
  std::size_t first = 0;
  std::size_t last = 0;
  std::size_t agreed = 0;
  std::size_t covered = 0;
  std::size_t parent = PrefixNode::kNone;
};

}  // namespace

std::vector<PrefixNode> build_prefix_tree(Prompts prompts, std::size_t minimum) {
  std::vector<std::size_t> order(prompts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return prompts[a] < prompts[b]; });
  std::vector<PrefixNode> nodes;
  // An own stack: prompts that differ late in many places would nest deeply.
  std::vector<Group> groups;
  if (!order.empty()) groups.push_back({0, order.size(), 0, 0, PrefixNode::kNone});
  while (!groups.empty()) {
    Group group = groups.back();
    groups.pop_back();
    const auto prompt = [&](std::size_t i) -> const std::vector<std::uint64_t>& { return prompts[order[i]]; };
    if (group.last - group.first == 1) {
      const std::size_t request = order[group.first];
      assert(!prompts[request].empty());
      nodes.push_back({group.parent, request, group.covered, prompts[request].size(), true});
      continue;
    }
    // In sorted order the first and the last prompt agree no further than any two between.
    // The last position of a prompt is never shared: its logits belong to the request.
    const auto& front = prompt(group.first);
    const auto& back = prompt(group.last - 1);
    std::size_t agreed = group.agreed;
    while (agreed + 1 < front.size() && agreed + 1 < back.size() && front[agreed] == back[agreed]) ++agreed;
    if (agreed >= group.covered + minimum) {
      nodes.push_back({group.parent, order[group.first], group.covered, agreed, false});
      group.parent = nodes.size() - 1;
      group.covered = agreed;
    }
    // Prompts that end right behind the stretch go alone; the rest splits by its next key.
    std::vector<Group> parts;
    for (std::size_t i = group.first; i < group.last;) {
      std::size_t end = i + 1;
      if (prompt(i).size() > agreed + 1) {
        while (end < group.last && prompt(end).size() > agreed + 1 &&
               prompt(end)[agreed] == prompt(i)[agreed]) {
          ++end;
        }
      }
      parts.push_back({i, end, agreed, group.covered, group.parent});
      i = end;
    }
    groups.insert(groups.end(), parts.rbegin(), parts.rend());
  }
  return nodes;
}

}  // namespace reelfolio::engine
