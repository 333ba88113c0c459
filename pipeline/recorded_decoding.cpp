#include "pipeline/recorded_decoding.h"

#include <utility>

namespace reelfolio::pipeline {

using stages::Message;

void DecodingRecorder::name_unit(const std::shared_ptr<const stages::Unit>& unit, Message& message) {
  if (!unit) return;
  const auto [found, is_first] = units_.try_emplace(unit.get(), static_cast<std::uint32_t>(kept_.size() + 1));
  message.unit = found->second;
  if (!is_first) return;
  message.new_unit = unit;
  kept_.push_back(unit);
}

void DecodingRecorder::emitted(int stage, const stages::Item& item, bool is_new, MediaHashes& media) {
  // Every member is named: what an item comes to carry is recorded here, and made again in `replay`.
  const auto& [input, unit, pictures, sound] = item;
  static_cast<void>(input);
  Decoding::Event event;
  event.message.kind = Message::Kind::emitted;
  event.message.stage = stage;
  event.message.cuts_unit = is_new;
  name_unit(unit, event.message);
  for (const auto& [image, soft_tokens, time_s] : pictures) {
    event.message.pictures.push_back({image->width, image->height, soft_tokens, time_s});
    event.media.push_back(media.of(image));
  }
  if (sound) {
    const auto& [clips, no_track] = *sound;
    event.message.sound = stages::SoundShape{no_track, {}};
    for (const auto& [audio, start_s] : clips) {
      event.message.sound->clips.push_back({static_cast<std::uint32_t>(audio->samples.size()), start_s});
      event.media.push_back(media.of(audio));
    }
  }
  decoding_.events.push_back(std::move(event));
}

void DecodingRecorder::unit_closed(const std::shared_ptr<const stages::Unit>& unit) {
  const auto found = units_.find(unit.get());
  if (found == units_.end()) return;
  Decoding::Event event;
  event.message.kind = Message::Kind::unit_closed;
  event.message.unit = found->second;
  units_.erase(found);
  decoding_.events.push_back(std::move(event));
}

void DecodingRecorder::failed(int stage, std::shared_ptr<const stages::Unit> unit, const std::string& code,
                              const std::string& message) {
  Decoding::Event event;
  event.message.kind = Message::Kind::failed;
  event.message.stage = stage;
  if (const auto found = units_.find(unit.get()); found != units_.end()) {
    event.message.unit = found->second;
  } else {
    event.message.new_unit = std::move(unit);
  }
  event.message.code = code;
  event.message.text = message;
  decoding_.events.push_back(std::move(event));
}

bool replay(const Decoding& decoding, const stages::DecodePlan& plan,
            const std::shared_ptr<const stages::InputFile>& input, const MakeMedia& make,
            stages::DecodeEvents& events) {
  std::map<std::uint32_t, std::shared_ptr<const stages::Unit>> units;
  for (const Decoding::Event& event : decoding.events) {
    const Message& message = event.message;
    const bool is_stage = message.stage >= 0 && message.stage < static_cast<int>(plan.stages.size());
    if (!is_stage && message.stage != stages::DecodePlan::kInputs) return false;
    std::shared_ptr<const stages::Unit> unit = message.new_unit;
    if (message.unit != 0) {
      if (unit && !units.emplace(message.unit, unit).second) return false;
      const auto found = units.find(message.unit);
      if (found == units.end()) return false;
      unit = found->second;
    }
    switch (message.kind) {
      case Message::Kind::emitted: {
        const std::size_t clips = message.sound ? message.sound->clips.size() : 0;
        if (!is_stage || event.media.size() != message.pictures.size() + clips) return false;
        stages::Item item{input, unit, {}};
        auto hash = event.media.begin();
        for (const stages::PictureShape& shape : message.pictures) {
          item.pictures.push_back({make.picture(*hash++, shape), shape.soft_tokens, shape.time_s});
        }
        if (message.sound) item.sound = stages::Sound{{}, message.sound->no_track};
        for (std::size_t i = 0; i < clips; ++i) {
          const stages::ClipShape& shape = message.sound->clips[i];
          item.sound->clips.push_back({make.clip(*hash++, shape), shape.start_s});
        }
        events.emitted(message.stage, std::move(item), message.cuts_unit);
        break;
      }
      case Message::Kind::unit_closed:
        if (!unit) return false;
        units.erase(message.unit);
        events.unit_closed(unit);
        break;
      case Message::Kind::failed:
        events.failed(message.stage, unit, message.code, message.text);
        break;
      case Message::Kind::probed:
      case Message::Kind::count:
      case Message::Kind::done:
        return false;
    }
  }
  return true;
}

}  // namespace reelfolio::pipeline
