#include "engine/chat.h"

#include <cstddef>
#include <string_view>
#include <utility>

#include "engine/error.h"
#include "engine/utf8.h"

namespace reelfolio::engine {
namespace {

/// White space as Python's str.isspace knows it.
bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

std::string_view trim(std::string_view text) {
  while (!text.empty()) {
    const Utf8Step step = read_utf8(text);
    if (step.kind != Utf8Step::Kind::valid || !is_space(step.code_point)) break;
    text.remove_prefix(step.bytes);
  }
  while (!text.empty()) {
    std::size_t begin = text.size() - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
    const Utf8Step step = read_utf8(text.substr(begin));
    if (step.kind != Utf8Step::Kind::valid || step.bytes != text.size() - begin || !is_space(step.code_point))
      break;
    text.remove_suffix(step.bytes);
  }
  return text;
}

/// Keeps what stands in front of the first channel opening of each stretch that a
/// channel end closes, as the template does: an unclosed channel runs to the end.
std::string without_thoughts(std::string_view text) {
  std::string kept;
  while (true) {
    const std::size_t end = text.find(control::kChannelEnd);
    const std::string_view stretch = text.substr(0, end);
    kept += stretch.substr(0, stretch.find(control::kChannelBegin));
    if (end == text.npos) return kept;
    text.remove_prefix(end + control::kChannelEnd.size());
  }
}

std::string_view role_name(Role role) {
  switch (role) {
    case Role::system:
      return "system";
    case Role::user:
      return "user";
    case Role::model:
      return "model";
  }
  return {};
}

/// mm:ss, rounded down; minutes may exceed 59.
std::string timestamp(double time_s) {
  constexpr double kLatest = 360000.0;
  if (!(time_s >= 0.0 && time_s <= kLatest)) {
    throw RequestError("a video frame's time is " + std::to_string(time_s) + " s, expected 0 to 100 hours");
  }
  const auto seconds = static_cast<int>(time_s);
  const auto two_digits = [](int value) { return (value < 10 ? "0" : "") + std::to_string(value); };
  return two_digits(seconds / 60) + ":" + two_digits(seconds % 60);
}

class PromptBuilder {
 public:
  explicit PromptBuilder(const std::vector<int>& soft_token_counts) : counts_(soft_token_counts) {}

  void trusted(std::string_view text) { append(text, true); }

  void begin_turn(Role role) {
    trusted(control::kTurnBegin);
    trusted(role_name(role));
    trusted("\n");
  }
  void end_turn() {
    trusted(control::kTurnEnd);
    trusted("\n");
  }

  void parts(const Message& message) {
    for (const Part& part : message.parts) {
      if (const auto* text = std::get_if<TextPart>(&part)) {
        append(trim(message.role == Role::model ? without_thoughts(text->text) : text->text), false);
      } else if (const auto* video = std::get_if<VideoPart>(&part)) {
        frames(*video);
      } else if (std::holds_alternative<AudioPart>(part)) {
        soft_tokens(control::kAudioBegin, control::kAudio, control::kAudioEnd);
      } else {
        trusted("\n\n");
        soft_tokens(control::kImageBegin, control::kImage, control::kImageEnd);
        trusted("\n\n");
      }
    }
  }

  std::vector<PromptRun> finish() {
    if (used_ != counts_.size()) {
      throw RequestError("the prompt has " + std::to_string(used_) +
                         " images, sounds and video frames, but " + std::to_string(counts_.size()) +
                         " soft-token counts");
    }
    return std::move(runs_);
  }

 private:
  void append(std::string_view text, bool is_trusted) {
    if (text.empty()) return;
    if (runs_.empty() || runs_.back().trusted != is_trusted) runs_.push_back({{}, is_trusted});
    runs_.back().text += text;
  }

  /// The next count's placeholders between their markers.
  void soft_tokens(std::string_view begin, std::string_view placeholder, std::string_view end) {
    const std::size_t index = used_++;
    if (index >= counts_.size()) return;  // finish() reports it
    if (counts_[index] < 1) {
      throw RequestError("image, sound or video frame " + std::to_string(index) + " of the prompt has " +
                         std::to_string(counts_[index]) + " soft tokens, expected at least 1");
    }
    trusted(begin);
    for (int i = 0; i < counts_[index]; ++i) trusted(placeholder);
    trusted(end);
  }

  void frames(const VideoPart& video) {
    if (video.frames.empty() || video.frames.size() > kMostVideoFrames) {
      throw RequestError("a video has " + std::to_string(video.frames.size()) + " frames, expected 1 to " +
                         std::to_string(kMostVideoFrames));
    }
    trusted("\n\n");
    for (std::size_t i = 0; i < video.frames.size(); ++i) {
      if (i > 0) trusted(" ");
      trusted(timestamp(video.frames[i].time_s));
      trusted(" ");
      soft_tokens(control::kImageBegin, control::kVideo, control::kImageEnd);
    }
    trusted("\n\n");
  }

  const std::vector<int>& counts_;
  std::vector<PromptRun> runs_;
  std::size_t used_ = 0;
};

}  // namespace

std::vector<PromptRun> render_chat(const std::vector<Message>& messages,
                                   const std::vector<int>& soft_token_counts, const ChatOptions& options) {
  if (messages.empty()) throw RequestError("conversation has no message");
  const bool has_system = messages.front().role == Role::system;
  PromptBuilder prompt(soft_token_counts);
  prompt.trusted(control::kBos);
  if (has_system || options.thinking) {
    prompt.begin_turn(Role::system);
    if (options.thinking) prompt.trusted(control::kThink);
    if (has_system) prompt.parts(messages.front());
    prompt.end_turn();
  }
  for (std::size_t i = has_system ? 1 : 0; i < messages.size(); ++i) {
    prompt.begin_turn(messages[i].role);
    prompt.parts(messages[i]);
    prompt.end_turn();
  }
  if (options.add_generation_prompt) {
    prompt.begin_turn(Role::model);
    if (options.prime_empty_thought && !options.thinking) {
      prompt.trusted(control::kChannelBegin);
      prompt.trusted("thought\n");
      prompt.trusted(control::kChannelEnd);
    }
  }
  return prompt.finish();
}

}  // namespace reelfolio::engine
