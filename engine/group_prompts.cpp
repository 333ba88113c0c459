#include "engine/group_prompts.h"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "engine/chat.h"
#include "engine/error.h"
#include "engine/generation.h"

namespace reelfolio::engine {

std::size_t GroupPrompts::source_index(const LoadedModel& model, const SoftTokenSource& source) {
  const auto found = std::find_if(sources.begin(), sources.end(),
                                  [&](const PromptSource& known) { return known.source == source; });
  if (found != sources.end()) return static_cast<std::size_t>(found - sources.begin());
  sources.push_back({source, model.towers.soft_tokens(source), nullptr});
  return sources.size() - 1;
}

/// In the order of their placeholders.
std::vector<std::size_t> GroupPrompts::source_indices(const LoadedModel& model, const Request& request) {
  using Kind = SoftTokenSource::Kind;
  std::vector<std::size_t> indices;
  const auto add = [&](const SoftTokenSource& source) { indices.push_back(source_index(model, source)); };
  for (const Message& message : request.messages) {
    for (const Part& part : message.parts) {
      if (const auto* image = std::get_if<ImagePart>(&part)) {
        add(SoftTokenSource::picture(image->image, image->soft_tokens, Kind::image));
      } else if (const auto* audio = std::get_if<AudioPart>(&part)) {
        add(SoftTokenSource::sound(audio->clip));
      } else if (const auto* video = std::get_if<VideoPart>(&part)) {
        for (const VideoFrame& frame : video->frames) {
          add(SoftTokenSource::picture(frame.image, video->soft_tokens, Kind::video_frame));
        }
      }
    }
  }
  return indices;
}

std::size_t GroupPrompts::add(const LoadedModel& model, const Request& request) {
  if (request.messages.empty()) throw RequestError("the request has no messages");
  const std::vector<std::size_t> used = source_indices(model, request);
  std::vector<int> counts;
  for (const std::size_t source : used) counts.push_back(sources[source].soft_tokens);
  ChatOptions chat;
  chat.thinking = request.thinking;
  Prompt prompt;
  prompt.ids = model.tokenizer.encode(render_chat(request.messages, counts, chat));

  const auto placeholder = [&](SoftTokenSource::Kind kind) {
    const MultimodalTokenIds& tokens = model.config.tokens;
    return kind == SoftTokenSource::Kind::image   ? tokens.image
           : kind == SoftTokenSource::Kind::audio ? tokens.audio
                                                  : tokens.video;
  };
  std::size_t next = 0;
  std::size_t row = 0;
  for (const TokenId id : prompt.ids) {
    // render_chat writes the placeholders in the order of the sources, and nothing else can.
    if (next == used.size() || id != placeholder(sources[used[next]].source.kind)) {
      prompt.keys.push_back(static_cast<std::uint64_t>(id));
      continue;
    }
    prompt.keys.push_back(SoftTokenKey::make(used[next], row));
    if (++row == static_cast<std::size_t>(counts[next])) {
      row = 0;
      ++next;
    }
  }
  if (next != used.size()) throw RequestError("the prompt has fewer placeholders than soft tokens");
  const std::size_t context = model.config.text.max_position_embeddings;
  if (prompt.ids.size() >= context) {
    throw RequestError("the prompt has " + std::to_string(prompt.ids.size()) + " tokens, the model takes " +
                       std::to_string(context) + " with the answer");
  }
  check_generation(request, model.generation(), context - prompt.ids.size());
  prompts.push_back(std::move(prompt));
  return prompts.size() - 1;
}

}  // namespace reelfolio::engine
