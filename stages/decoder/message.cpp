#include "stages/decoder/message.h"

#include <climits>
#include <cmath>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <utility>

#include "stages/utf8.h"

namespace reelfolio::stages {
namespace {

constexpr std::size_t kMostCodeBytes = 64;
constexpr std::size_t kMostErrorBytes = 1U << 16U;
constexpr int kMostSide = 1 << 24;
constexpr int kMostCount = 1 << 30;
constexpr int kMostSoftTokens = 1 << 16;

class Writer {
 public:
  template <class T>
  void number(T value) {
    static_assert(std::is_arithmetic_v<T>);
    std::uint8_t bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    out_.insert(out_.end(), bytes, bytes + sizeof value);
  }
  void text(std::string_view text) {
    number(static_cast<std::uint32_t>(text.size()));
    out_.insert(out_.end(), text.begin(), text.end());
  }
  void optional(const std::optional<double>& value) {
    number(static_cast<std::uint8_t>(value.has_value()));
    if (value) number(*value);
  }
  std::vector<std::uint8_t> take() { return std::move(out_); }

 private:
  std::vector<std::uint8_t> out_;
};

class MessageReader {
 public:
  explicit MessageReader(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  template <class T>
  T number() {
    static_assert(std::is_arithmetic_v<T>);
    T value;
    const auto bytes = take(sizeof value);
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
  template <class T>
  T between(T low, T high) {
    const T value = number<T>();
    if (value < low || value > high) throw ProtocolError("a number is out of its range");
    return value;
  }
  bool boolean() { return between<std::uint8_t>(0, 1) != 0; }
  double seconds() {
    const auto value = number<double>();
    if (!std::isfinite(value)) throw ProtocolError("a time is no number");
    return value;
  }
  std::optional<double> optional_seconds() {
    if (!boolean()) return std::nullopt;
    return seconds();
  }
  std::string raw() {
    const auto bytes = take(number<std::uint32_t>());
    return {bytes.begin(), bytes.end()};
  }
  std::string text() { return replace_invalid_utf8(raw()); }
  /// A list's length; each of its members takes at least `member_bytes`.
  std::size_t count(std::size_t member_bytes, std::size_t most = SIZE_MAX) {
    const std::size_t count = number<std::uint32_t>();
    if (count > most || count > bytes_.size() / member_bytes) throw ProtocolError("a list is too long");
    return count;
  }
  template <class Enum>
  Enum choice(Enum last) {
    return static_cast<Enum>(between<std::uint8_t>(0, static_cast<std::uint8_t>(last)));
  }
  void end() const {
    if (!bytes_.empty()) throw ProtocolError("there are bytes behind the message");
  }

 private:
  std::span<const std::uint8_t> take(std::size_t size) {
    if (size > bytes_.size()) throw ProtocolError("the message ends early");
    const auto taken = bytes_.first(size);
    bytes_ = bytes_.subspan(size);
    return taken;
  }

  std::span<const std::uint8_t> bytes_;
};

void write_unit(Writer& out, const Unit& unit) {
  // Fails to compile where Unit gains a member: it has to travel too, here and in read_unit.
  const auto& [producer, kind, index, start_s, end_s, number, width_px, height_px, text, words, first_line,
               last_line, timed] = unit;
  out.text(producer);
  out.number(static_cast<std::uint8_t>(kind));
  out.number(index);
  out.number(start_s);
  out.number(end_s);
  out.number(number);
  out.number(width_px);
  out.number(height_px);
  out.number(static_cast<std::uint8_t>(text.has_value()));
  if (text) out.text(*text);
  out.number(static_cast<std::uint32_t>(words.size()));
  for (const PageWord& word : words) {
    out.text(word.text);
    for (const int edge : {word.left_px, word.top_px, word.right_px, word.bottom_px}) out.number(edge);
  }
  out.number(first_line);
  out.number(last_line);
  out.number(static_cast<std::uint8_t>(timed));
}

std::shared_ptr<const Unit> read_unit(MessageReader& in) {
  auto unit = std::make_shared<Unit>();
  unit->producer = in.text();
  unit->kind = in.choice(UnitKind::text);
  unit->index = in.between<int>(0, kMostCount);
  unit->start_s = in.seconds();
  unit->end_s = in.seconds();
  unit->number = in.between<int>(0, kMostCount);
  unit->width_px = in.between<int>(0, kMostSide);
  unit->height_px = in.between<int>(0, kMostSide);
  if (in.boolean()) unit->text = in.text();
  unit->words.resize(in.count(5 * sizeof(std::int32_t)));
  for (PageWord& word : unit->words) {
    word.text = in.text();
    for (int* edge : {&word.left_px, &word.top_px, &word.right_px, &word.bottom_px}) {
      *edge = in.between<int>(-kMostCount, kMostCount);
    }
  }
  unit->first_line = in.between<int>(0, INT_MAX);
  unit->last_line = in.between<int>(0, INT_MAX);
  unit->timed = in.boolean();
  return unit;
}

void write_picture(Writer& out, const PictureShape& picture) {
  out.number(picture.width);
  out.number(picture.height);
  out.number(picture.soft_tokens);
  out.optional(picture.time_s);
}

PictureShape read_picture(MessageReader& in) {
  PictureShape picture;
  picture.width = in.between<int>(1, kMostSide);
  picture.height = in.between<int>(1, kMostSide);
  picture.soft_tokens = in.between<int>(1, kMostSoftTokens);
  picture.time_s = in.optional_seconds();
  return picture;
}

void write_sound(Writer& out, const SoundShape& sound) {
  out.number(static_cast<std::uint8_t>(sound.no_track));
  out.number(static_cast<std::uint32_t>(sound.clips.size()));
  for (const ClipShape& clip : sound.clips) {
    out.number(clip.samples);
    out.number(clip.start_s);
  }
}

SoundShape read_sound(MessageReader& in) {
  SoundShape sound;
  sound.no_track = in.boolean();
  sound.clips.resize(in.count(sizeof(std::uint32_t) + sizeof(double), Message::kMostClips));
  for (ClipShape& clip : sound.clips) {
    clip.samples = in.between(static_cast<std::uint32_t>(engine::kLeastAudioSamples),
                              static_cast<std::uint32_t>(engine::kMostAudioSamples));
    clip.start_s = in.seconds();
  }
  return sound;
}

/// Codes go into the output as they are.
std::string checked_code(std::string code) {
  if (code.size() > kMostCodeBytes) throw ProtocolError("an error has no proper code");
  for (const char c : code) {
    if ((c < 'a' || c > 'z') && c != '_' && c != '.') throw ProtocolError("an error has no proper code");
  }
  return code;
}

}  // namespace

std::vector<std::uint8_t> Message::bytes() const {
  Writer out;
  out.number(static_cast<std::uint8_t>(kind));
  out.number(stage);
  out.number(static_cast<std::uint8_t>(media));
  out.number(unit);
  out.number(static_cast<std::uint8_t>(new_unit != nullptr));
  if (new_unit) write_unit(out, *new_unit);
  out.number(static_cast<std::uint8_t>(cuts_unit));
  out.number(static_cast<std::uint32_t>(pictures.size()));
  for (const PictureShape& picture : pictures) write_picture(out, picture);
  out.number(static_cast<std::uint8_t>(sound.has_value()));
  if (sound) write_sound(out, *sound);
  out.text(code);
  std::string_view shown = text;
  if (kind == Kind::failed || kind == Kind::probed) shown = shown.substr(0, kMostErrorBytes);
  out.text(shown);
  out.number(static_cast<std::uint32_t>(costs.size()));
  for (const StageTimer::Cost& cost : costs) {
    out.number(cost.seconds);
    out.number(cost.items);
  }
  return out.take();
}

Message Message::parse(std::span<const std::uint8_t> bytes) {
  if (bytes.size() > kMostBytes) throw ProtocolError("the message is too long");
  MessageReader in(bytes);
  Message message;
  message.kind = in.choice(Kind::done);
  message.stage = in.between<int>(DecodePlan::kInputs, 1 << 20);
  message.media = in.choice(MediaKind::unknown);
  message.unit = in.number<std::uint32_t>();
  if (in.boolean()) message.new_unit = read_unit(in);
  message.cuts_unit = in.boolean();
  for (auto left = in.count(3 * sizeof(int), kMostPictures); left > 0; --left) {
    message.pictures.push_back(read_picture(in));
  }
  if (in.boolean()) message.sound = read_sound(in);
  message.code = checked_code(in.text());
  message.text = in.text();
  for (auto left = in.count(2 * sizeof(double)); left > 0; --left) {
    StageTimer::Cost cost;
    cost.seconds = in.seconds();
    cost.items = in.number<std::uint64_t>();
    if (cost.seconds < 0) throw ProtocolError("a time is negative");
    message.costs.push_back(cost);
  }
  in.end();
  if (message.kind == Kind::failed && message.code.empty()) throw ProtocolError("an error has no code");
  return message;
}

std::vector<std::uint8_t> DecodeRequest::bytes() const {
  Writer out;
  out.number(static_cast<std::uint8_t>(kind));
  out.text(input.path.native());
  out.text(input.name);
  out.text(input.sha256);
  out.number(input.size_bytes);
  out.number(static_cast<std::uint8_t>(input.media));
  return out.take();
}

DecodeRequest DecodeRequest::parse(std::span<const std::uint8_t> bytes) {
  MessageReader in(bytes);
  DecodeRequest request;
  request.kind = in.choice(Kind::decode);
  request.input.path = in.raw();
  request.input.name = in.text();
  request.input.sha256 = in.text();
  request.input.size_bytes = in.number<std::uint64_t>();
  request.input.media = in.choice(MediaKind::unknown);
  in.end();
  return request;
}

}  // namespace reelfolio::stages
