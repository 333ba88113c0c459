#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "stages/decoder/decode.h"
#include "stages/decoder/message.h"

namespace reelfolio::stages {

/// The parent's side: turns what a decoder process tells into events, after checking that it can be.
/// Borrows plan and events. One thread.
class EventReceiver {
 public:
  /// Copies `size` bytes from `offset` bytes behind the message's start. False if there are none.
  using ReadBlob = std::function<bool(std::uint64_t offset, void* to, std::size_t size)>;

  /// most_bytes: of one item's pictures.
  EventReceiver(const DecodePlan& plan, std::shared_ptr<const InputFile> input, DecodeEvents& events,
                std::uint64_t most_bytes)
      : plan_(plan), input_(std::move(input)), events_(events), most_bytes_(most_bytes) {}

  /// Returns the number that the process waits for; none once it is done. Throws ProtocolError, and
  /// what the events throw.
  std::optional<std::uint64_t> take(std::span<const std::uint8_t> message, const ReadBlob& read_blob);

  /// Of stage s at s + 1; empty before the process is done.
  const std::vector<StageTimer::Cost>& costs() const { return costs_; }

 private:
  std::shared_ptr<const Unit> unit_of(const Message& message);
  void check_stage(int stage, bool may_be_none) const;
  void emitted(const Message& message, std::size_t message_bytes, const ReadBlob& read_blob);

  const DecodePlan& plan_;
  std::shared_ptr<const InputFile> input_;
  DecodeEvents& events_;
  std::uint64_t most_bytes_;
  std::uint64_t told_bytes_ = 0;
  std::unordered_map<std::uint32_t, std::shared_ptr<const Unit>> units_;  ///< not closed yet, by number
  std::uint32_t last_unit_ = 0;
  std::vector<StageTimer::Cost> costs_;
};

}  // namespace reelfolio::stages
