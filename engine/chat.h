#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

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

using Part = std::variant<TextPart, ImagePart>;

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
/// k-th image, in order of appearance. Begins with the text of `<bos>`; encode it
/// without adding another. No run is empty, and trusted and untrusted ones alternate.
///
/// Every text part is trimmed of Unicode white space at both ends, as Python's str.strip
/// does; from model turns the parts between channel tokens are removed first. Throws
/// RequestError if there is no message or the counts do not match the images.
std::vector<PromptRun> render_chat(const std::vector<Message>& messages,
                                   const std::vector<int>& soft_token_counts, const ChatOptions& options);

}  // namespace reelfolio::engine
