#pragma once

#include "engine/rgb_image.h"
#include "engine/vision/preprocess.h"

namespace reelfolio::engine::vision {

/// Antialiased bicubic resize (a = -0.5) in fixed point, bit for bit that of the
/// model's own preprocessing (gemma4.md, section 5): the rows first, rounded to bytes,
/// then the columns. A side that does not change is not filtered.
///
/// Sides of image and size are at least 1. Works on the OpenMP threads of the calling
/// thread; integer arithmetic, so the result does not depend on their number.
RgbImage resize(const RgbImage& image, ImageSize size);

}  // namespace reelfolio::engine::vision
