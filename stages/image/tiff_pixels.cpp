#include "stages/image/tiff_pixels.h"

#include <tiff.h>

#include <algorithm>
#include <cstring>

#include "stages/image/picture_reader.h"

namespace reelfolio::stages {

void TiffLayout::set_palette(const std::uint16_t* red, const std::uint16_t* green,
                             const std::uint16_t* blue) {
  const std::size_t entries = std::size_t{1} << std::min<unsigned>(bits, 8);
  const auto is_small = [entries](const std::uint16_t* values) {
    return std::all_of(values, values + entries, [](std::uint16_t value) { return value < 256; });
  };
  // TIFF wants 0..65535; values that all stay below 256 come from writers that meant 0..255.
  const unsigned shift = is_small(red) && is_small(green) && is_small(blue) ? 0 : 8;
  for (std::size_t i = 0; i < entries; ++i) {
    palette_[i] = {static_cast<std::uint8_t>(red[i] >> shift), static_cast<std::uint8_t>(green[i] >> shift),
                   static_cast<std::uint8_t>(blue[i] >> shift)};
  }
}

bool TiffLayout::supported() const {
  if (samples < 1 || samples > 8) return false;
  const bool whole_bytes = bits == 8 || bits == 16;
  const bool packed = bits == 1 || bits == 2 || bits == 4;
  switch (photometric) {
    case PHOTOMETRIC_MINISBLACK:
    case PHOTOMETRIC_MINISWHITE:
      if (sample_format == SAMPLEFORMAT_IEEEFP) return bits == 32;
      return sample_format == SAMPLEFORMAT_UINT && (packed || whole_bytes || bits == 32);
    case PHOTOMETRIC_PALETTE:
      return sample_format == SAMPLEFORMAT_UINT && (packed || bits == 8);
    case PHOTOMETRIC_RGB:
      return sample_format == SAMPLEFORMAT_UINT && samples >= 3 && whole_bytes;
    case PHOTOMETRIC_SEPARATED:
      return sample_format == SAMPLEFORMAT_UINT && samples >= 4 && whole_bytes;
    default:
      return false;
  }
}

/// As stored for up to 8 bits, else the highest 8.
unsigned TiffLayout::sample(const std::uint8_t* row, std::size_t plane_stride, int x, int channel) const {
  std::size_t at = static_cast<std::size_t>(x);
  if (separate) {
    row += plane_stride * static_cast<std::size_t>(channel);
  } else {
    at = at * samples + static_cast<std::size_t>(channel);
  }
  if (bits == 8) return row[at];
  if (bits == 16) {
    std::uint16_t value = 0;
    std::memcpy(&value, row + at * 2, 2);
    return value >> 8U;
  }
  if (bits == 32 && sample_format == SAMPLEFORMAT_IEEEFP) {
    float value = 0;
    std::memcpy(&value, row + at * 4, 4);
    // The comparison is false for NaN too.
    return value > 0 ? static_cast<unsigned>(std::min(value, 1.0F) * 255.0F + 0.5F) : 0;
  }
  if (bits == 32) {
    std::uint32_t value = 0;
    std::memcpy(&value, row + at * 4, 4);
    return value >> 24U;
  }
  const std::size_t bit = at * bits;
  return (row[bit / 8] >> (8U - bits - bit % 8)) & ((1U << bits) - 1U);
}

void TiffLayout::to_rgb(const std::uint8_t* row, std::size_t plane_stride, int count,
                        std::uint8_t* rgb) const {
  for (int x = 0; x < count; ++x, rgb += 3) {
    if (photometric == PHOTOMETRIC_PALETTE) {
      const auto& colour = palette_[sample(row, plane_stride, x, 0)];
      std::copy(colour.begin(), colour.end(), rgb);
    } else if (photometric == PHOTOMETRIC_SEPARATED) {
      std::uint8_t cmyk[4];
      for (int c = 0; c < 4; ++c) cmyk[c] = static_cast<std::uint8_t>(sample(row, plane_stride, x, c));
      cmyk_to_rgb(cmyk, 1, rgb);
    } else if (photometric == PHOTOMETRIC_RGB) {
      for (int c = 0; c < 3; ++c) rgb[c] = static_cast<std::uint8_t>(sample(row, plane_stride, x, c));
      if (associated_alpha && samples > 3) {
        const unsigned alpha = sample(row, plane_stride, x, 3);
        if (alpha == 0 || alpha == 255) continue;
        for (int c = 0; c < 3; ++c) rgb[c] = static_cast<std::uint8_t>(std::min(255U * rgb[c] / alpha, 255U));
      }
    } else {
      unsigned grey = sample(row, plane_stride, x, 0);
      if (bits < 8) grey = grey * 255U / ((1U << bits) - 1U);
      if (photometric == PHOTOMETRIC_MINISWHITE) grey = 255U - grey;
      std::fill_n(rgb, 3, static_cast<std::uint8_t>(grey));
    }
  }
}

}  // namespace reelfolio::stages
