#include "engine/piece_table.h"

#include <bit>
#include <cassert>
#include <functional>

namespace reelfolio::engine {

PieceTable::PieceTable(std::size_t count) : slots_(std::bit_ceil(2 * count + 2)) {
  spans_.reserve(count);
}

std::size_t PieceTable::slot_of(std::string_view text, std::size_t hash) const {
  const std::size_t mask = slots_.size() - 1;
  const auto short_hash = static_cast<std::uint32_t>(hash >> 32);
  std::size_t slot = hash & mask;
  while (slots_[slot].id != kNone && (slots_[slot].hash != short_hash || piece(slots_[slot].id) != text)) {
    slot = (slot + 1) & mask;
  }
  return slot;
}

PieceTable::Insertion PieceTable::insert(std::string_view text, TokenId id) {
  assert(!text.empty() && id >= 0);
  const std::size_t hash = std::hash<std::string_view>{}(text);
  Slot& slot = slots_[slot_of(text, hash)];
  if (slot.id != kNone) return Insertion::text_taken;
  const auto index = static_cast<std::size_t>(id);
  if (index >= spans_.size()) spans_.resize(index + 1);
  if (spans_[index].size != 0) return Insertion::id_taken;
  spans_[index] = {texts_.size(), text.size()};
  texts_ += text;
  slot = {static_cast<std::uint32_t>(hash >> 32), id};
  return Insertion::done;
}

TokenId PieceTable::find(std::string_view text) const {
  return slots_[slot_of(text, std::hash<std::string_view>{}(text))].id;
}

}  // namespace reelfolio::engine
