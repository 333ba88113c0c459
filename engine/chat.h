#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/audio_clip.h"
#include "engine/rgb_image.h"

namespace reelfolio::engine {

/// Spellings of the chat format's control tokens (gemma4.md, section 11).
namespace control {
inline constexpr std::string_view kBos = "<bos>";
inline constexpr std::string_view kTurnBegin = "<|turn>";
inline constexpr std::string_view kTurnEnd = "<turn|>";
inline constexpr std::string_view kThink = "<|think|>";
inline constexpr std::string_view kChannelBegin = "<|channel>";
inline constexpr std::string_view kChannelEnd = "<channel|>";
inline constexpr std::string_view kImageBegin = "<|image>";
inline constexpr std::string_view kImage = "<|image|>";
inline constexpr std::string_view kImageEnd = "<image|>";
inline constexpr std::string_view kVideo = "<|video|>";
inline constexpr std::string_view kAudioBegin = "<|audio>";
inline constexpr std::string_view kAudio = "<|audio|>";
inline constexpr std::string_view kAudioEnd = "<audio|>";
}  // namespace control

/// Text of a turn. Control tokens in it are ordinary text: a caption prompt built
/// from a file name or a page's text cannot open a turn of its own.
struct TextPart {
  std::string text;
};

/// A picture of a turn. Requests that hold the same `image` object with the same
/// budget share its vision-tower pass.
struct ImagePart {
  std::shared_ptr<const RgbImage> image;
  /// Budget of soft tokens: 70, 140, 280, 560 or 1120.
  int soft_tokens = 280;
};

/// Sound of a turn: kLeastAudioSamples to kMostAudioSamples finite samples, 25 soft tokens a
/// second. Requests that hold the same `clip` object share its audio-tower pass.
struct AudioPart {
  std::shared_ptr<const AudioClip> clip;
};

struct VideoFrame {
  std::shared_ptr<const RgbImage> image;
  /// From the start of the clip; written before the frame as mm:ss, rounded down.
  double time_s = 0;
};

/// Frames of a clip in the release's form for videos (gemma4.md, section 9): a timestamp before
/// each, and pixels divided where a picture's are multiplied. Sound is a part of its own.
struct VideoPart {
  /// 1 to kMostVideoFrames; vision::sampled_frames says which ones the release takes.
  std::vector<VideoFrame> frames;
  /// Budget of soft tokens of each frame, as ImagePart's.
  int soft_tokens = 70;
};
inline constexpr std::size_t kMostVideoFrames = 32;

using Part = std::variant<TextPart, ImagePart, AudioPart, VideoPart>;

enum class Role { system, user, model };

struct Message {
  Role role = Role::user;
  std::vector<Part> parts;
};

/// One run of prompt text. Special tokens are recognised in trusted runs alone.
struct PromptRun {
  std::string text;
  bool trusted = false;
};

struct ChatOptions {
  bool thinking = false;
  bool add_generation_prompt = true;
  /// Appends the empty thought channel when thinking is off, as the templates of
  /// the larger models do. E2B and E4B answer worse with it; off by default.
  bool prime_empty_thought = false;
};

/// Renders a conversation to the prompt text of the release (gemma4.md, section 11),
/// placeholders expanded: `soft_token_counts[k]` is the number of soft tokens of the
/// k-th image, clip of sound or frame of a video, in order of appearance. Begins with the text
/// of `<bos>`; encode it without adding another. No run is empty, and trusted and untrusted
/// ones alternate.
///
/// Every text part is trimmed of Unicode white space at both ends, as Python's str.strip
/// does; from model turns the parts between channel tokens are removed first. Throws
/// RequestError if there is no message, the counts do not match the parts, a video has no frame
/// or more than kMostVideoFrames, or a frame's time is not a number from 0 to 100 hours.
std::vector<PromptRun> render_chat(const std::vector<Message>& messages,
                                   const std::vector<int>& soft_token_counts, const ChatOptions& options);

}  // namespace reelfolio::engine
