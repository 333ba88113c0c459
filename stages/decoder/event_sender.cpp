#include "stages/decoder/event_sender.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace reelfolio::stages {

EventSender::EventSender(int socket, const SharedMemory& memory)
    : socket_(socket),
      memory_(memory),
      state_view_(memory, 0, SharedState::kBytes),
      state_(*reinterpret_cast<SharedState*>(state_view_.data())) {}

void EventSender::emitted(int stage, Item item, bool is_new) {
  Message message;
  message.kind = Message::Kind::emitted;
  message.stage = stage;
  message.cuts_unit = is_new;
  name_unit(item.unit, message);
  std::vector<std::span<const std::uint8_t>> blobs;
  for (const Picture& picture : item.pictures) {
    message.pictures.push_back(
        {picture.image->width, picture.image->height, picture.soft_tokens, picture.time_s});
    blobs.emplace_back(picture.image->pixels);
  }
  if (item.sound) {
    message.sound = SoundShape{item.sound->no_track, {}};
    for (const SoundClip& clip : item.sound->clips) {
      const std::vector<float>& samples = clip.audio->samples;
      message.sound->clips.push_back({static_cast<std::uint32_t>(samples.size()), clip.start_s});
      blobs.emplace_back(reinterpret_cast<const std::uint8_t*>(samples.data()),
                         samples.size() * sizeof(float));
    }
  }
  tell(message, blobs);
}

void EventSender::unit_closed(const std::shared_ptr<const Unit>& unit) {
  const auto found = units_.find(unit.get());
  if (found == units_.end()) return;
  Message message;
  message.kind = Message::Kind::unit_closed;
  message.unit = found->second.second;
  units_.erase(found);
  tell(message);
}

void EventSender::failed(int stage, std::shared_ptr<const Unit> unit, const std::string& code,
                         const std::string& text) {
  Message message;
  message.kind = Message::Kind::failed;
  message.stage = stage;
  if (const auto found = units_.find(unit.get()); found != units_.end()) {
    message.unit = found->second.second;
  } else {
    message.new_unit = std::move(unit);
  }
  message.code = code;
  message.text = text;
  tell(message);
}

bool EventSender::stopped() const {
  // The parent ends this process where it is to stop; that it is asked is a sign of life.
  state_.beats.fetch_add(1, std::memory_order_relaxed);
  return false;
}

void EventSender::advanced(double part) {
  state_.part.store(static_cast<float>(part), std::memory_order_relaxed);
  state_.beats.fetch_add(1, std::memory_order_relaxed);
}

std::size_t EventSender::count_tokens(std::string_view text) const {
  Message message;
  message.kind = Message::Kind::count;
  message.text = text;
  return static_cast<std::size_t>(tell(message));
}

void EventSender::working(int stage) {
  state_.stage.store(stage, std::memory_order_relaxed);
}

void EventSender::probed(MediaKind media) {
  Message message;
  message.kind = Message::Kind::probed;
  message.media = media;
  tell(message);
}

void EventSender::not_probed(const ItemError& error) {
  Message message;
  message.kind = Message::Kind::probed;
  message.code = error.code();
  message.text = error.what();
  tell(message);
}

void EventSender::done(const std::vector<StageTimer::Cost>& costs) {
  Message message;
  message.kind = Message::Kind::done;
  message.costs = costs;
  tell(message);
}

void EventSender::name_unit(const std::shared_ptr<const Unit>& unit, Message& message) {
  if (!unit) return;
  auto& [kept, number] = units_[unit.get()];
  if (number == 0) {
    kept = unit;
    number = ++last_unit_;
    message.new_unit = unit;
  }
  message.unit = number;
}

/// The number that the parent answers with.
std::uint64_t EventSender::tell(const Message& message,
                                std::span<const std::span<const std::uint8_t>> blobs) const {
  const std::vector<std::uint8_t> bytes = message.bytes();
  if (bytes.size() > Message::kMostBytes) throw std::bad_alloc();
  std::uint64_t size = bytes.size();
  for (const auto& blob : blobs) size = next_blob(size) + blob.size();
  if (size > view_.size()) {
    constexpr std::uint64_t kStep = 1U << 20U;
    const std::uint64_t room = memory_.size() - SharedState::kBytes;
    if (size > room) throw std::bad_alloc();
    view_ = SharedView();
    view_ = SharedView(memory_, SharedState::kBytes, std::min((size + kStep - 1) / kStep * kStep, room));
  }
  std::memcpy(view_.data(), bytes.data(), bytes.size());
  std::uint64_t offset = bytes.size();
  for (const auto& blob : blobs) {
    offset = next_blob(offset);
    std::memcpy(view_.data() + offset, blob.data(), blob.size());
    offset += blob.size();
  }
  state_.beats.fetch_add(1, std::memory_order_relaxed);
  const auto announced = static_cast<std::uint32_t>(bytes.size());
  std::uint8_t bell[sizeof announced];
  std::memcpy(bell, &announced, sizeof bell);
  if (!send_message(socket_, bell)) throw Cancelled{};
  const auto reply = receive_message(socket_, sizeof(std::uint64_t));
  if (!reply || reply->size() != sizeof(std::uint64_t)) throw Cancelled{};
  std::uint64_t number = 0;
  std::memcpy(&number, reply->data(), sizeof number);
  return number;
}

}  // namespace reelfolio::stages
