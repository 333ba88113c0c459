#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace reelfolio::stages {

/// How the samples of one TIFF page are stored, and their way to 8-bit RGB.
struct TiffLayout {
  int width = 0;
  int height = 0;
  std::uint16_t photometric = 0;
  std::uint16_t bits = 1;           ///< of a sample
  std::uint16_t samples = 1;        ///< of a pixel
  std::uint16_t sample_format = 1;  ///< 1 unsigned, 2 signed, 3 float
  bool separate = false;            ///< planes one after the other, else samples side by side
  bool associated_alpha = false;    ///< the first extra sample multiplies the colours

  /// 16-bit entries as TIFF has them, 1 << bits of each; some writers use only 8 bits of them.
  void set_palette(const std::uint16_t* red, const std::uint16_t* green, const std::uint16_t* blue);

  /// Whether `to_rgb` knows this layout: grey, palette, RGB and CMYK, unsigned, of 1, 2,
  /// 4, 8, 16 or 32 bits (colours 8 or 16), and grey of 32-bit floats in 0..1; at most 8 samples.
  bool supported() const;

  /// One row of `count` pixels.
  /// row           first plane's row; other planes follow at `plane_stride` bytes
  /// rgb           count * 3 bytes
  /// Samples of more than 8 bits are in the machine's byte order, as libtiff delivers them.
  void to_rgb(const std::uint8_t* row, std::size_t plane_stride, int count, std::uint8_t* rgb) const;

 private:
  unsigned sample(const std::uint8_t* row, std::size_t plane_stride, int x, int channel) const;
  std::array<std::array<std::uint8_t, 3>, 256> palette_{};
};

}  // namespace reelfolio::stages
