#include "stages/image/picture_reader.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "stages/error.h"
#include "stages/image/signature.h"
#include "stages/system_message.h"

namespace reelfolio::stages {

std::unique_ptr<PictureReader> open_picture(const std::filesystem::path& path, std::uint64_t max_pixels) {
  auto source = std::make_unique<ByteSource>(path);
  std::array<char, 4096> head{};
  const std::size_t length = source->read(
      head.data(), static_cast<std::size_t>(std::min<std::uint64_t>(head.size(), source->size())));
  if (source->failed()) throw_decode_error(*source, "");
  source->seek(0);
  switch (picture_format(std::string_view(head.data(), length))) {
    case PictureFormat::png:
      return open_png(std::move(source), max_pixels);
    case PictureFormat::jpeg:
      return open_jpeg(std::move(source), max_pixels);
    case PictureFormat::webp:
      return open_webp(std::move(source), max_pixels);
    case PictureFormat::tiff:
      return open_tiff(std::move(source), max_pixels);
    case PictureFormat::bmp:
      return open_bmp(std::move(source), max_pixels);
    case PictureFormat::gif:
      return open_gif(std::move(source), max_pixels);
    case PictureFormat::pnm:
      return open_pnm(std::move(source), max_pixels);
    case PictureFormat::unknown:
      break;
  }
  throw ItemError("image.unsupported", "is no picture of a known format");
}

void check_size(std::uint64_t width, std::uint64_t height, std::uint64_t max_pixels) {
  const std::string size = std::to_string(width) + " x " + std::to_string(height);
  if (width == 0 || height == 0) throw ItemError("image.corrupt", "picture is empty (" + size + ")");
  constexpr std::uint64_t kMaxSide = 1U << 24U;  // keeps every product below within 64 bits
  if (width > kMaxSide || height > kMaxSide || width * height > max_pixels) {
    throw ItemError("image.too_large", "picture has " + size + " pixels, at most " +
                                           std::to_string(max_pixels) + " are allowed");
  }
}

void throw_decode_error(const ByteSource& source, const std::string& message) {
  if (source.failed()) {
    throw ItemError("input.unreadable", "cannot be read: " + system_message(source.error()));
  }
  const std::string detail = message.empty() ? "" : ": " + message;
  if (source.hit_end()) throw ItemError("image.truncated", "picture data ends early" + detail);
  throw ItemError("image.corrupt", "picture data is damaged" + detail);
}

void cmyk_to_rgb(const std::uint8_t* cmyk, int count, std::uint8_t* rgb) {
  for (int i = 0; i < count; ++i, cmyk += 4, rgb += 3) {
    const unsigned light = 255U - cmyk[3];
    for (int c = 0; c < 3; ++c) rgb[c] = multiply_255(255U - cmyk[c], light);
  }
}

}  // namespace reelfolio::stages
