#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stages/decoder/channel.h"
#include "stages/decoder/decode.h"
#include "stages/decoder/message.h"

namespace reelfolio::stages {

/// The decoder process's side: tells its parent what happens and waits until that has taken it, so
/// that work stops where the parent has no room. Borrows all it is given. One thread.
class EventSender final : public DecodeEvents {
 public:
  /// `memory` begins with a SharedState.
  EventSender(int socket, const SharedMemory& memory);

  void emitted(int stage, Item item, bool is_new) override;
  void unit_closed(const std::shared_ptr<const Unit>& unit) override;
  void failed(int stage, std::shared_ptr<const Unit> unit, const std::string& code,
              const std::string& message) override;
  bool stopped() const override;
  void advanced(double part) override;
  std::size_t count_tokens(std::string_view text) const override;
  void working(int stage) override;

  void probed(MediaKind media);
  void not_probed(const ItemError& error);
  void done(const std::vector<StageTimer::Cost>& costs);

 private:
  void name_unit(const std::shared_ptr<const Unit>& unit, Message& message);
  std::uint64_t tell(const Message& message, std::span<const std::span<const std::uint8_t>> blobs = {}) const;

  int socket_;
  const SharedMemory& memory_;
  SharedView state_view_;
  SharedState& state_;
  mutable SharedView view_;  ///< from behind the state on, as far as was needed so far
  /// Of units that are not closed yet.
  std::map<const Unit*, std::pair<std::shared_ptr<const Unit>, std::uint32_t>> units_;
  std::uint32_t last_unit_ = 0;
};

}  // namespace reelfolio::stages
