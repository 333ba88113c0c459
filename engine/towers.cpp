#include "engine/towers.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "engine/audio/audio_tensors.h"
#include "engine/audio/mel_features.h"
#include "engine/error.h"
#include "engine/packed_model.h"
#include "engine/vision/preprocess.h"

namespace reelfolio::engine {

namespace {

std::size_t pixel_bytes(const RgbImage& image) {
  return static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) * 3;
}

/// Far above full scale, and far below what overflows.
constexpr float kLoudestSample = 32768.0F;

void check_clip(const AudioClip& clip) {
  const std::vector<float>& samples = clip.samples;
  if (samples.size() < kLeastAudioSamples || samples.size() > kMostAudioSamples) {
    throw RequestError("a clip of sound has " + std::to_string(samples.size()) + " samples, expected " +
                       std::to_string(kLeastAudioSamples) + " to " + std::to_string(kMostAudioSamples) +
                       " (30 s)");
  }
  const auto bad = std::find_if(samples.begin(), samples.end(),
                                [](float sample) { return !(std::abs(sample) <= kLoudestSample); });
  if (bad != samples.end()) {
    throw RequestError("sample " + std::to_string(bad - samples.begin()) + " of a clip of sound is " +
                       std::to_string(*bad) + ", expected about -1 to 1");
  }
}

}  // namespace

Towers::Towers(const ModelConfig& config, const Checkpoint& checkpoint, ops::WeightType weights)
    : config_(config),
      checkpoint_(checkpoint),
      weights_(weights),
      hears_(audio::has_audio_tower(config, checkpoint)),
      pages_(checkpoint, weights) {
  if (hears_) audio::AudioTower::check(config_, checkpoint_, weights_);
  if (config_.vision) vision_.emplace(config_, checkpoint_, weights_);
}

Towers::~Towers() = default;

int Towers::soft_tokens(const SoftTokenSource& source) const {
  if (source.kind == SoftTokenSource::Kind::audio) {
    if (!source.clip) throw RequestError("an audio part holds no sound");
    if (!hears_) throw RequestError("the model has no audio tower, the request has sound");
    check_clip(*source.clip);
    return static_cast<int>(audio::num_soft_tokens(source.clip->samples.size()));
  }
  if (!source.image) throw RequestError("an image part or video frame holds no picture");
  if (!vision_) throw RequestError("the model has no vision tower, the request has a picture");
  const RgbImage& image = *source.image;
  const vision::ImageSize size = vision::target_size(image.height, image.width, source.budget);
  if (image.pixels.size() != pixel_bytes(image)) {
    throw RequestError("a picture of " + std::to_string(image.width) + " x " + std::to_string(image.height) +
                       " pixels has " + std::to_string(image.pixels.size()) + " bytes");
  }
  vision::PreprocessedImage shape;
  shape.patch_cols = size.width / vision::kPatchSize;
  shape.patch_rows = size.height / vision::kPatchSize;
  vision_->check_size(shape);
  return shape.soft_tokens();
}

MatrixBuffer Towers::encode(const SoftTokenSource& source, const std::function<void()>& between_layers) {
  const auto observe = [&between_layers](std::string_view, ConstMatrix) { between_layers(); };
  pages_.drop_decoder();
  // Also where the work is given up.
  struct DropTowers {
    const WeightPages& pages;
    ~DropTowers() { pages.drop_towers(); }
  } const drop{pages_};
  if (source.kind == SoftTokenSource::Kind::audio) {
    if (!audio_) {
      verify_packed_model(checkpoint_, PackedPart::audio_tower);
      audio_.emplace(config_, checkpoint_, weights_);
    }
    return audio_->encode(audio::mel_features(source.clip->samples).view(), observe);
  }
  const vision::PreprocessedImage patches = vision::preprocess_image(
      *source.image, source.budget, source.kind == SoftTokenSource::Kind::video_frame);
  return vision_->encode(patches, observe);
}

}  // namespace reelfolio::engine
