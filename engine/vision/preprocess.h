#pragma once

#include <cstddef>
#include <vector>

#include "engine/rgb_image.h"
#include "engine/tensor.h"

/// From a picture to the patches that the vision tower reads.
/// Source of the rules and figures: gemma4.md, sections 5 and 9.
namespace reelfolio::engine::vision {

inline constexpr int kPatchSize = 16;   ///< pixels along each side of a patch
inline constexpr int kPoolingSize = 3;  ///< patches along each side of a soft token

/// Sides in pixels.
struct ImageSize {
  int height = 0;
  int width = 0;

  bool operator==(const ImageSize&) const = default;
};

/// True for 70, 140, 280, 560 and 1120.
bool is_soft_token_budget(int budget);

/// The size to which a picture of the given sides is scaled, up or down, so that it
/// fills the budget: both sides multiples of 48, at most `soft_token_budget` soft tokens.
/// Throws RequestError for a side below 1 or a budget that is_soft_token_budget denies.
ImageSize target_size(int height, int width, int soft_token_budget);

/// Indices of the frames that the release takes of a clip's `frames`: floor(i * frames / wanted) for
/// i < wanted, and all of them where there are fewer.
std::vector<std::size_t> sampled_frames(std::size_t frames, std::size_t wanted);

/// A picture cut into patches, row by row.
struct PreprocessedImage {
  int patch_cols = 0;  ///< multiple of kPoolingSize
  int patch_rows = 0;  ///< multiple of kPoolingSize
  /// [patch_rows * patch_cols, 768], values 0..1. Patch p lies at column p % patch_cols,
  /// row p / patch_cols; inside it element (y * 16 + x) * 3 + channel.
  MatrixBuffer patches;

  int soft_tokens() const { return (patch_cols / kPoolingSize) * (patch_rows / kPoolingSize); }
};

/// Scales `image` to target_size and cuts it into patches. A picture multiplies each
/// byte by f32(1/255), a frame of a video divides it by 255: the two differ in the last bit.
///
/// Works on the OpenMP threads of the calling thread; any thread may call it. The result
/// does not depend on their number. Throws RequestError as target_size does, and where
/// `pixels` has another size than width * height * 3.
PreprocessedImage preprocess_image(const RgbImage& image, int soft_token_budget, bool video_frame);

}  // namespace reelfolio::engine::vision
