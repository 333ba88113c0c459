#include "engine/towers.h"

#include <string>

#include "engine/error.h"
#include "engine/vision/preprocess.h"

namespace reelfolio::engine {

namespace {

using Kind = SoftTokenSource::Kind;

std::size_t pixel_bytes(const RgbImage& image) {
  return static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) * 3;
}

}  // namespace

Towers::Towers(const ModelConfig& config, const Checkpoint& checkpoint, ops::WeightType weights)
    : config_(config), checkpoint_(checkpoint), weights_(weights) {
  if (config_.vision) vision_.emplace(config_, checkpoint_, weights_);
}

Towers::~Towers() = default;

int Towers::soft_tokens(const SoftTokenSource& source) const {
  if (source.kind == Kind::audio) {
    throw RequestError("the model has no audio tower, the request has sound");
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
  const vision::PreprocessedImage patches =
      vision::preprocess_image(*source.image, source.budget, source.kind == Kind::video_frame);
  return vision_->encode(patches, observe);
}

}  // namespace reelfolio::engine
