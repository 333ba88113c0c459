#include "engine/vision/preprocess.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <string>

#include "engine/error.h"
#include "engine/vision/resize.h"

namespace reelfolio::engine::vision {

namespace {

constexpr int kTokenPixels = kPatchSize * kPoolingSize;  ///< pixels along each side of a soft token
constexpr int kPatchRowValues = kPatchSize * 3;
constexpr std::array kBudgets{70, 140, 280, 560, 1120};

std::string sides(int height, int width) {
  return std::to_string(width) + " x " + std::to_string(height) + " pixels";
}

/// Values of the 256 bytes; see the header for the two ways to divide.
std::array<float, 256> byte_values(bool video_frame) {
  std::array<float, 256> values;
  constexpr float kFactor = 1.0F / 255.0F;
  for (int i = 0; i < 256; ++i) {
    const float byte = static_cast<float>(i);
    values[i] = video_frame ? byte / 255.0F : byte * kFactor;
  }
  return values;
}

}  // namespace

bool is_soft_token_budget(int budget) {
  return std::find(kBudgets.begin(), kBudgets.end(), budget) != kBudgets.end();
}

ImageSize target_size(int height, int width, int soft_token_budget) {
  if (height < 1 || width < 1) throw RequestError("an image of " + sides(height, width) + " is empty");
  if (!is_soft_token_budget(soft_token_budget)) {
    throw RequestError("an image budget of " + std::to_string(soft_token_budget) +
                       " soft tokens is not one of 70, 140, 280, 560 and 1120");
  }
  const double max_pixels = static_cast<double>(soft_token_budget) * kTokenPixels * kTokenPixels;
  const double factor = std::sqrt(max_pixels / (static_cast<double>(height) * width));
  // At least one side is not cut to nothing: factor * max(height, width) >= sqrt(max_pixels).
  const auto fitted = [factor](int side) {
    return static_cast<int>(std::floor(factor * side / kTokenPixels)) * kTokenPixels;
  };
  // A side cut to nothing becomes one token; the other keeps the aspect ratio, within the budget.
  const auto stretched = [soft_token_budget](int longer, int shorter) {
    return std::min(longer / shorter, soft_token_budget) * kTokenPixels;
  };
  ImageSize size{fitted(height), fitted(width)};
  if (size.height == 0) {
    size = {kTokenPixels, stretched(width, height)};
  } else if (size.width == 0) {
    size = {stretched(height, width), kTokenPixels};
  }
  assert(size.height > 0 && size.width > 0);
  assert(static_cast<double>(size.height) * size.width <= max_pixels);
  return size;
}

std::vector<std::size_t> sampled_frames(std::size_t frames, std::size_t wanted) {
  std::vector<std::size_t> indices(std::min(frames, wanted));
  for (std::size_t i = 0; i < indices.size(); ++i) indices[i] = i * frames / indices.size();
  return indices;
}

PreprocessedImage preprocess_image(const RgbImage& image, int soft_token_budget, bool video_frame) {
  const ImageSize size = target_size(image.height, image.width, soft_token_budget);
  const std::size_t expected = static_cast<std::size_t>(image.width) * image.height * 3;
  if (image.pixels.size() != expected) {
    throw RequestError("an image of " + sides(image.height, image.width) + " has " +
                       std::to_string(image.pixels.size()) + " bytes, expected " + std::to_string(expected));
  }
  RgbImage scaled;
  const bool scales = size != ImageSize{image.height, image.width};
  if (scales) scaled = resize(image, size);
  const RgbImage& source = scales ? scaled : image;

  PreprocessedImage result;
  result.patch_cols = size.width / kPatchSize;
  result.patch_rows = size.height / kPatchSize;
  const std::size_t count = static_cast<std::size_t>(result.patch_cols) * result.patch_rows;
  result.patches.resize(count, kPatchSize * kPatchRowValues);
  const Matrix patches = result.patches.view();
  const std::array<float, 256> values = byte_values(video_frame);
#pragma omp parallel for schedule(static)
  for (int y = 0; y < size.height; ++y) {
    const std::uint8_t* pixels = source.row(y);
    const std::size_t first_patch = static_cast<std::size_t>(y / kPatchSize) * result.patch_cols;
    const std::size_t offset = static_cast<std::size_t>(y % kPatchSize) * kPatchRowValues;
    for (int column = 0; column < result.patch_cols; ++column) {
      float* target = patches.row(first_patch + column).data() + offset;
      for (int k = 0; k < kPatchRowValues; ++k) target[k] = values[pixels[column * kPatchRowValues + k]];
    }
  }
  return result;
}

}  // namespace reelfolio::engine::vision
