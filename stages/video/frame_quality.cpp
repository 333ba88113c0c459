#include "stages/video/frame_quality.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace reelfolio::stages {
namespace {

// Above the noise of a coded black and below the dark parts of a night scene.
constexpr int kNearlyBlack = 32;
constexpr double kBrightShare = 0.01;
// A uniform picture with coding noise deviates by one or two steps.
constexpr double kFlatDeviation = 4;
// Neighbours that differ by less are one still picture, or light that changes slowly.
constexpr double kStillDifference = 8;
// Of the neighbours' difference, what a mixture may be off their mean: it need not be half and half.
constexpr double kMixtureError = 0.25;

}  // namespace

FrameLook look_at(const BgrFrame& frame, double time_s) {
  FrameLook look;
  look.time_s = time_s;
  look.width = frame.width;
  look.height = frame.height;
  const std::size_t count = static_cast<std::size_t>(frame.width) * frame.height;
  look.luma.resize(count);
  double sum = 0;
  double sum_squares = 0;
  std::size_t bright = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint8_t* p = frame.pixels.data() + 3 * i;
    // BT.601 in 8-bit fixed point.
    const int luma = (29 * p[0] + 150 * p[1] + 77 * p[2] + 128) >> 8;
    look.luma[i] = static_cast<std::uint8_t>(luma);
    sum += luma;
    sum_squares += luma * luma;
    bright += luma > kNearlyBlack ? 1 : 0;
  }
  const double n = static_cast<double>(std::max<std::size_t>(count, 1));
  look.mean = sum / n;
  look.deviation = std::sqrt(std::max(sum_squares / n - look.mean * look.mean, 0.0));
  look.bright_share = static_cast<double>(bright) / n;

  double energy = 0;
  for (int y = 1; y + 1 < frame.height; ++y) {
    const std::uint8_t* row = look.luma.data() + static_cast<std::ptrdiff_t>(y) * frame.width;
    for (int x = 1; x + 1 < frame.width; ++x) {
      const int laplacian =
          4 * row[x] - row[x - 1] - row[x + 1] - row[x - frame.width] - row[x + frame.width];
      energy += laplacian * laplacian;
    }
  }
  look.sharpness = energy / n;
  return look;
}

bool is_blank(const FrameLook& look) {
  return look.bright_share < kBrightShare || look.deviation < kFlatDeviation;
}

bool is_mixture(const FrameLook& before, const FrameLook& look, const FrameLook& after) {
  std::int64_t difference = 0;
  std::int64_t error = 0;  // doubled
  for (std::size_t i = 0; i < look.luma.size(); ++i) {
    difference += std::abs(before.luma[i] - after.luma[i]);
    error += std::abs(2 * look.luma[i] - before.luma[i] - after.luma[i]);
  }
  const double n = static_cast<double>(std::max<std::size_t>(look.luma.size(), 1));
  const double apart = static_cast<double>(difference) / n;
  return apart > kStillDifference && static_cast<double>(error) / n / 2 < kMixtureError * apart;
}

}  // namespace reelfolio::stages
