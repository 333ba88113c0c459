#include "cli/unit_naming.h"

#include <algorithm>
#include <set>

namespace reelfolio::cli {

namespace {

using stages::ItemType;
using stages::UnitKind;

bool is_whole_input(ItemType type) {
  return !pipeline::unit_kind(type);
}

}  // namespace

std::vector<UnitKind> kinds_cut_twice(const pipeline::Graph& graph) {
  std::set<UnitKind> seen;
  std::set<UnitKind> twice;
  for (const pipeline::GraphStage& stage : graph.stages) {
    // A stage that takes whole inputs cuts units; the others pass them on, and so do those that take both.
    if (std::ranges::none_of(stage.receives, is_whole_input)) continue;
    std::set<UnitKind> cuts;
    for (const ItemType type : stage.type->produces) {
      if (const auto kind = pipeline::unit_kind(type)) cuts.insert(*kind);
    }
    for (const ItemType type : stage.type->accepts) {
      if (const auto kind = pipeline::unit_kind(type)) cuts.erase(*kind);
    }
    for (const UnitKind kind : cuts) {
      if (!seen.insert(kind).second) twice.insert(kind);
    }
  }
  return {twice.begin(), twice.end()};
}

}  // namespace reelfolio::cli
