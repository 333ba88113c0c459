#include "pipeline/answer_key.h"

#include <variant>

#include "pipeline/field_hash.h"

namespace reelfolio::pipeline {

namespace {

/// One overload for each kind of part: a kind that is not handled here does not compile.
class PartHasher {
 public:
  PartHasher(FieldHash& hash, MediaHashes& media) : hash_(hash), media_(media) {}

  void operator()(const engine::TextPart& part) const {
    const auto& [text] = part;
    hash_.text("text").text(text);
  }
  void operator()(const engine::ImagePart& part) const {
    const auto& [image, soft_tokens] = part;
    hash_.text("image").text(media_.of(image)).number(soft_tokens);
  }
  void operator()(const engine::AudioPart& part) const {
    const auto& [clip] = part;
    hash_.text("audio").text(media_.of(clip));
  }
  void operator()(const engine::VideoPart& part) const {
    const auto& [frames, soft_tokens] = part;
    hash_.text("video").number(frames.size()).number(soft_tokens);
    for (const auto& [image, time_s] : frames) hash_.text(media_.of(image)).number(time_s);
  }

 private:
  FieldHash& hash_;
  MediaHashes& media_;
};

}  // namespace

const std::string& MediaHashes::of(const std::shared_ptr<const engine::RgbImage>& image) {
  std::string& hash = known_[image.get()];
  if (hash.empty() && image) {
    hash = FieldHash("picture").number(image->width).number(image->height).bytes(image->pixels).finish();
  }
  return hash;
}

const std::string& MediaHashes::of(const std::shared_ptr<const engine::AudioClip>& clip) {
  std::string& hash = known_[clip.get()];
  if (hash.empty() && clip) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(clip->samples.data());
    hash = FieldHash("sound").bytes({bytes, clip->samples.size() * sizeof(float)}).finish();
  }
  return hash;
}

std::string answer_key(const std::string& model, const engine::Request& request,
                       const std::string& constraint, MediaHashes& media) {
  // Structured bindings name every member, so that one that is added and not covered here does not
  // compile: answers to different requests must never share a key.
  const auto& [messages, thinking, max_tokens, sampling, thinking_budget, stop, constrained,
               log_probabilities] = request;
  const auto& [temperature, top_k, top_p, min_p, repetition_penalty, seed] = sampling;
  FieldHash hash("reelfolio answer 1");
  hash.text(model).number(messages.size());
  for (const auto& [role, parts] : messages) {
    hash.number(static_cast<int>(role)).number(parts.size());
    for (const engine::Part& part : parts) std::visit(PartHasher(hash, media), part);
  }
  hash.number(int{thinking}).number(max_tokens);
  // Greedy choices do not depend on what shapes a draw.
  const bool draws = temperature > 0;
  hash.number(double{temperature}).number(double{repetition_penalty});
  if (draws) hash.number(top_k).number(double{top_p}).number(double{min_p}).number(seed);
  hash.number(thinking_budget.value_or(-1)).number(stop.size());
  for (const std::string& each : stop) hash.text(each);
  hash.text(constrained ? constraint : "").number(int{log_probabilities});
  return hash.finish();
}

}  // namespace reelfolio::pipeline
