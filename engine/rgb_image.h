#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace reelfolio::engine {

/// An 8-bit RGB picture, upright, rows from top to bottom, three bytes a pixel,
/// no padding: pixels.size() == width * height * 3.
struct RgbImage {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> pixels;

  const std::uint8_t* row(int y) const { return pixels.data() + static_cast<std::size_t>(y) * width * 3; }
  std::uint8_t* row(int y) { return pixels.data() + static_cast<std::size_t>(y) * width * 3; }
};

}  // namespace reelfolio::engine
