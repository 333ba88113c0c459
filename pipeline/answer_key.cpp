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
  // Structured bindings count the members, so that one that is added and not covered here does not
  // compile: answers to different requests must never share a key.
  [[maybe_unused]] const auto& [r0, r1, r2, r3, r4, r5, r6, r7] = request;
  const engine::SamplingOptions& sampling = request.sampling;
  [[maybe_unused]] const auto& [s0, s1, s2, s3, s4, s5] = sampling;
  FieldHash hash("reelfolio answer 1");
  hash.text(model).number(request.messages.size());
  for (const auto& [role, parts] : request.messages) {
    hash.number(static_cast<int>(role)).number(parts.size());
    for (const engine::Part& part : parts) std::visit(PartHasher(hash, media), part);
  }
  hash.number(int{request.thinking}).number(request.max_tokens);
  hash.number(double{sampling.temperature}).number(double{sampling.repetition_penalty});
  // Greedy choices do not depend on what shapes a draw.
  if (sampling.temperature > 0) {
    hash.number(sampling.top_k).number(double{sampling.top_p}).number(double{sampling.min_p});
    hash.number(sampling.seed);
  }
  hash.number(request.thinking_budget.value_or(-1)).number(request.stop.size());
  for (const std::string& each : request.stop) hash.text(each);
  hash.text(request.constraint ? constraint : "").number(int{request.log_probabilities});
  return hash.finish();
}

}  // namespace reelfolio::pipeline
