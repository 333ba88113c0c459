#pragma once

#include <cstdint>
#include <span>

#include "engine/rgb_image.h"

/// The orientation tag of EXIF and TIFF: how stored rows and columns lie in the upright
/// picture. 1 is upright, 2 mirrored, 3 half a turn, 4 mirrored and half a turn,
/// 5 transposed, 6 needs a quarter turn clockwise, 7 transversed, 8 a quarter turn
/// counter-clockwise.
namespace reelfolio::stages {

/// Orientation in an EXIF block ("II" or "MM" and what follows, or with "Exif\0\0" before
/// it); 1 if it has none that is valid. Throws nothing, whatever the bytes.
int exif_orientation(std::span<const std::uint8_t> exif);

/// Places rows as stored at their upright position, so that a turned picture needs no
/// second copy. Owns nothing; `image` outlives it.
class UprightRows {
 public:
  /// Sizes `image`, which becomes height x width for orientations 5 to 8.
  UprightRows(engine::RgbImage& image, int stored_width, int stored_height, int orientation);
  /// `rgb`: stored_width pixels of stored row `y`. Throws nothing.
  void write(int y, const std::uint8_t* rgb) { write(0, y, stored_width_, rgb); }
  /// `count` pixels from column `x` on.
  void write(int x, int y, int count, const std::uint8_t* rgb);

 private:
  engine::RgbImage& image_;
  int stored_width_;
  std::int64_t origin_;  ///< offset of stored pixel (0, 0) in `image_`, in bytes
  std::int64_t step_x_;  ///< to the next stored column
  std::int64_t step_y_;  ///< to the next stored row
};

/// Turns a picture that was decoded as stored. Holds two copies for the time, unless it
/// is upright already.
void turn_upright(engine::RgbImage& image, int orientation);

}  // namespace reelfolio::stages
