#include "cli/unit_naming.h"

#include <algorithm>
#include <array>
#include <optional>
#include <set>

namespace reelfolio::cli {

namespace {

using stages::ItemType;
using stages::UnitKind;

bool is_whole_input(ItemType type) {
  constexpr std::array kWhole = {ItemType::video, ItemType::pdf, ItemType::image_file, ItemType::sound,
                                 ItemType::text_file};
  return std::ranges::find(kWhole, type) != kWhole.end();
}

std::optional<UnitKind> kind_of(ItemType type) {
  switch (type) {
    case ItemType::scene:
    case ItemType::frames:
      return UnitKind::scene;
    case ItemType::page:
      return UnitKind::page;
    case ItemType::image:
      return UnitKind::image;
    case ItemType::clip:
      return UnitKind::clip;
    case ItemType::video:
    case ItemType::pdf:
    case ItemType::image_file:
    case ItemType::sound:
    case ItemType::text_file:
      break;
  }
  return std::nullopt;
}

}  // namespace

std::vector<UnitKind> kinds_cut_twice(const pipeline::Graph& graph) {
  std::set<UnitKind> seen;
  std::set<UnitKind> twice;
  for (const pipeline::GraphStage& stage : graph.stages) {
    // A stage that takes whole inputs cuts units; the others pass them on.
    if (std::ranges::none_of(stage.receives, is_whole_input)) continue;
    std::set<UnitKind> cuts;
    for (const ItemType type : stage.type->produces) {
      if (const auto kind = kind_of(type)) cuts.insert(*kind);
    }
    for (const UnitKind kind : cuts) {
      if (!seen.insert(kind).second) twice.insert(kind);
    }
  }
  return {twice.begin(), twice.end()};
}

}  // namespace reelfolio::cli
