#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "engine/rgb_image.h"

/// Writes small picture files of every kind, for the decoders' tests.
namespace reelfolio::stages {

/// 37 x 23 unless said otherwise, every pixel different from its neighbours, no symmetry.
engine::RgbImage test_picture(int width = 37, int height = 23);
/// Blocks of 16 x 16 in one colour each, which JPEG keeps nearly exact.
engine::RgbImage block_picture();
/// What a file with this orientation tag stores, so that it is `upright` when shown.
engine::RgbImage stored_for(const engine::RgbImage& upright, int orientation);
/// The largest difference of a value; 256 if the sizes differ.
int worst_difference(const engine::RgbImage& a, const engine::RgbImage& b);

/// An EXIF block with this orientation.
std::string exif_block(int orientation, bool big_endian);

/// Rows of samples to write; `bits` 1, 2, 4 are packed from one byte a sample here.
struct PngSpec {
  int width = 0;
  int height = 0;
  int bits = 8;
  int color_type = 2;
  bool interlaced = false;
  std::vector<std::uint16_t> samples;  ///< [height, width, channels]
  std::string palette;                 ///< RGB triples
  std::string palette_alpha;           ///< tRNS
  std::string exif;
};
std::string png_file(const PngSpec& spec);
std::string png_file(const engine::RgbImage& image, bool interlaced = false, const std::string& exif = "");

enum class JpegColour { rgb, grey, cmyk, ycck };
struct JpegSpec {
  bool progressive = false;
  JpegColour colour = JpegColour::rgb;
  bool adobe_marker = true;  ///< of CMYK and YCCK
  std::string exif;
};
/// `samples`: 3, 1 or 4 a pixel, as they are to be stored. Quality 100, no subsampling.
std::string jpeg_file(int width, int height, const std::vector<std::uint8_t>& samples, const JpegSpec& spec);
std::string jpeg_file(const engine::RgbImage& image, const JpegSpec& spec = {});

/// Lossless, in an extended container where `exif` is given.
std::string webp_file(const engine::RgbImage& image, const std::string& exif = "");
std::string webp_rgba_file(int width, int height, const std::vector<std::uint8_t>& rgba);

struct TiffPage {
  int width = 0;
  int height = 0;
  int bits = 8;
  int samples = 3;
  int photometric = 2;
  int compression = 1;
  int orientation = 1;
  int tile = 0;           ///< side of a tile; 0 for strips of 5 rows
  int extra_sample = -1;  ///< 1 associated alpha, 2 unassociated
  int subfile_type = 0;
  bool separate = false;
  bool big_endian = false;             ///< of the file: the first page decides
  std::vector<std::uint16_t> values;   ///< [height, width, samples]
  std::vector<std::uint16_t> palette;  ///< red, green, blue: 3 << bits entries
};
TiffPage tiff_page(const engine::RgbImage& image);
void write_tiff(const std::filesystem::path& path, const std::vector<TiffPage>& pages);

/// 24 bit, rows from bottom to top.
std::string bmp_file(const engine::RgbImage& image);
/// One picture of one colour (index 1 of a two-entry palette), `count` times.
std::string gif_file(int count);

}  // namespace reelfolio::stages
