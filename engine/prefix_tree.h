#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace reelfolio::engine {

/// Stretches of prompts, each to be prefilled once and continued by its children.
struct PrefixNode {
  std::size_t parent = kNone;  ///< index of the node before this one, or kNone
  std::size_t request = 0;     ///< a request whose prompt contains the stretch
  std::size_t begin = 0;       ///< positions of the stretch in that prompt
  std::size_t end = 0;
  bool leaf = false;  ///< ends at the prompt's end: belongs to `request` alone

  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
};

/// Cuts prompts into a tree of shared stretches: children come after their parent, each
/// request has one leaf, and the leaf holds at least the prompt's last position.
///
/// prompts   one key for each position; equal keys mean equal input rows. None is empty.
/// minimum   a shared stretch shorter than this is not worth a step of its own and is
///           prefilled once for each request.
std::vector<PrefixNode> build_prefix_tree(std::span<const std::vector<std::uint64_t>> prompts,
                                          std::size_t minimum);

}  // namespace reelfolio::engine
