#include "stages/decoder/event_receiver.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "stages/decoder/channel.h"

namespace reelfolio::stages {
namespace {

// What is kept of an input until its lines are written: units with their texts, errors.
constexpr std::uint64_t kMostToldBytes = std::uint64_t{1} << 30U;
// Part of what one message costs beyond its own bytes.
constexpr std::uint64_t kMessageBytes = 256;

}  // namespace

std::optional<std::uint64_t> EventReceiver::take(std::span<const std::uint8_t> bytes,
                                                 const ReadBlob& read_blob) {
  Message message = Message::parse(bytes);
  if (message.kind == Message::Kind::emitted || message.kind == Message::Kind::failed) {
    told_bytes_ += bytes.size() + kMessageBytes;
    if (told_bytes_ > kMostToldBytes) throw ProtocolError("there is more about one input than can be kept");
  }
  switch (message.kind) {
    case Message::Kind::emitted:
      emitted(message, bytes.size(), read_blob);
      return 0;
    case Message::Kind::unit_closed: {
      const auto found = units_.find(message.unit);
      if (found == units_.end()) throw ProtocolError("a unit is closed that is not open");
      const std::shared_ptr<const Unit> unit = found->second;
      units_.erase(found);
      events_.unit_closed(unit);
      return 0;
    }
    case Message::Kind::failed: {
      check_stage(message.stage, true);
      std::shared_ptr<const Unit> unit = message.new_unit;
      if (!unit && message.unit != 0) unit = unit_of(message);
      events_.failed(message.stage, std::move(unit), message.code, message.text);
      return 0;
    }
    case Message::Kind::count:
      return events_.count_tokens(message.text);
    case Message::Kind::done:
      if (message.costs.size() != plan_.stages.size() + 1) throw ProtocolError("costs are of other stages");
      costs_ = std::move(message.costs);
      return std::nullopt;
    case Message::Kind::probed:
      break;
  }
  throw ProtocolError("an answer came that nobody asked for");
}

std::shared_ptr<const Unit> EventReceiver::unit_of(const Message& message) {
  if (message.new_unit) {
    if (message.unit != last_unit_ + 1) throw ProtocolError("units are not numbered in order");
    last_unit_ = message.unit;
    units_.emplace(message.unit, message.new_unit);
    return message.new_unit;
  }
  if (message.unit == 0) return nullptr;
  const auto found = units_.find(message.unit);
  if (found == units_.end()) throw ProtocolError("a unit is named that is not known");
  return found->second;
}

void EventReceiver::check_stage(int stage, bool may_be_none) const {
  if (stage == DecodePlan::kInputs && may_be_none) return;
  if (stage < 0 || static_cast<std::size_t>(stage) >= plan_.stages.size() ||
      plan_.stages[stage].transform == nullptr) {
    throw ProtocolError("a stage is named that decodes nothing");
  }
}

void EventReceiver::emitted(const Message& message, std::size_t message_bytes, const ReadBlob& read_blob) {
  check_stage(message.stage, false);
  Item item{input_, unit_of(message), {}};
  if (message.cuts_unit && (!message.new_unit || item.unit->producer != plan_.stages[message.stage].name)) {
    throw ProtocolError("a stage cuts a unit that is not its own");
  }
  std::uint64_t total = 0;
  for (const PictureShape& picture : message.pictures) total += picture.bytes();
  if (message.sound) {
    for (const ClipShape& clip : message.sound->clips) total += clip.bytes();
  }
  if (total > most_bytes_)
    throw ProtocolError("pictures and sound are larger than the memory that holds them");
  std::uint64_t offset = message_bytes;
  for (const PictureShape& shape : message.pictures) {
    auto image = std::make_shared<engine::RgbImage>();
    image->width = shape.width;
    image->height = shape.height;
    image->pixels.resize(shape.bytes());
    offset = next_blob(offset);
    if (!read_blob(offset, image->pixels.data(), image->pixels.size())) {
      throw ProtocolError("pictures are missing");
    }
    offset += image->pixels.size();
    item.pictures.push_back({std::move(image), shape.soft_tokens, shape.time_s});
  }
  if (message.sound) {
    item.sound = Sound{{}, message.sound->no_track};
    for (const ClipShape& shape : message.sound->clips) {
      auto audio = std::make_shared<engine::AudioClip>();
      audio->samples.resize(shape.samples);
      offset = next_blob(offset);
      if (!read_blob(offset, reinterpret_cast<std::uint8_t*>(audio->samples.data()), shape.bytes())) {
        throw ProtocolError("sound is missing");
      }
      offset += shape.bytes();
      const auto is_sample = [](float sample) {
        return std::abs(sample) <= 1;
      };  // false for what is no number
      if (!std::all_of(audio->samples.begin(), audio->samples.end(), is_sample)) {
        throw ProtocolError("a sample of sound is beyond full scale");
      }
      item.sound->clips.push_back({std::move(audio), shape.start_s});
    }
  }
  events_.emitted(message.stage, std::move(item), message.cuts_unit);
}

}  // namespace reelfolio::stages
