#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "engine/rgb_image.h"
#include "stages/byte_source.h"

namespace reelfolio::stages {

/// One opened picture file. Owns the descriptor and the decoder's state; one thread at
/// a time, any thread, no state outside the object.
///
/// What comes out is 8-bit RGB, upright (EXIF and TIFF orientation applied):
///   grey        replicated; bilevel and 1, 2, 4 bit scaled to 0..255
///   palette     expanded
///   16 bit      the high byte
///   alpha       dropped, not blended; colours multiplied with it (TIFF) divided first
///   CMYK, YCCK  R = (255 - C)(255 - K) / 255, rounded; JPEG stores them inverted
///   ICC, gamma  ignored, as the reference does: values are taken as sRGB
///   animation   the first picture
///
/// A picture whose data ends early or is damaged is an error; partial pixels are not used.
class PictureReader {
 public:
  virtual ~PictureReader() = default;
  /// Pictures in the file: 1, but for a TIFF of several pages. Reduced copies and masks
  /// inside a TIFF do not count.
  virtual int pages() const { return 1; }
  /// `page` from 0. Throws ItemError: image.truncated, image.corrupt, image.too_large (before
  /// memory is allocated for the pixels), image.unsupported, input.unreadable.
  virtual engine::RgbImage read(int page) = 0;
};

/// The format is told by content. max_pixels bounds width x height of what `read` decodes.
/// Throws ItemError as `read` does, and input.not_a_file.
std::unique_ptr<PictureReader> open_picture(const std::filesystem::path& path, std::uint64_t max_pixels);

// For the decoders behind `open_picture`; each takes ownership of an opened file.
std::unique_ptr<PictureReader> open_png(std::unique_ptr<ByteSource> source, std::uint64_t max_pixels);
std::unique_ptr<PictureReader> open_jpeg(std::unique_ptr<ByteSource> source, std::uint64_t max_pixels);
std::unique_ptr<PictureReader> open_webp(std::unique_ptr<ByteSource> source, std::uint64_t max_pixels);
std::unique_ptr<PictureReader> open_tiff(std::unique_ptr<ByteSource> source, std::uint64_t max_pixels);
std::unique_ptr<PictureReader> open_bmp(std::unique_ptr<ByteSource> source, std::uint64_t max_pixels);
std::unique_ptr<PictureReader> open_gif(std::unique_ptr<ByteSource> source, std::uint64_t max_pixels);
std::unique_ptr<PictureReader> open_pnm(std::unique_ptr<ByteSource> source, std::uint64_t max_pixels);

/// Throws image.corrupt for an empty side, image.too_large beyond `max_pixels`.
void check_size(std::uint64_t width, std::uint64_t height, std::uint64_t max_pixels);

/// Why decoding stopped: input.unreadable after a read error, image.truncated if the
/// decoder wanted more than the file has, else image.corrupt with the library's words.
[[noreturn]] void throw_decode_error(const ByteSource& source, const std::string& message);

/// round(a * b / 255).
inline std::uint8_t multiply_255(unsigned a, unsigned b) {
  return static_cast<std::uint8_t>((a * b + 127) / 255);
}

/// `count` CMYK pixels, 0 for no ink, to RGB.
void cmyk_to_rgb(const std::uint8_t* cmyk, int count, std::uint8_t* rgb);

}  // namespace reelfolio::stages
