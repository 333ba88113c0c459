#include "stages/image/orientation.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace reelfolio::stages {
namespace {

/// Bounds-checked numbers of either byte order.
class ExifReader {
 public:
  explicit ExifReader(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}

  bool read_header() {
    if (bytes_.size() < 8) return false;
    big_endian_ = bytes_[0] == 'M';
    const std::uint8_t mark = big_endian_ ? 'M' : 'I';
    return bytes_[0] == mark && bytes_[1] == mark && number(2, 2) == 42;
  }
  bool fits(std::uint64_t offset, std::uint64_t size) const {
    return offset <= bytes_.size() && size <= bytes_.size() - offset;
  }
  std::uint32_t number(std::size_t offset, std::size_t size) const {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < size; ++i) {
      value = (value << 8U) | bytes_[offset + (big_endian_ ? i : size - 1 - i)];
    }
    return value;
  }

 private:
  std::span<const std::uint8_t> bytes_;
  bool big_endian_ = false;
};

}  // namespace

int exif_orientation(std::span<const std::uint8_t> exif) {
  constexpr std::uint8_t kPrefix[] = {'E', 'x', 'i', 'f', 0, 0};
  if (exif.size() >= sizeof(kPrefix) && std::equal(std::begin(kPrefix), std::end(kPrefix), exif.begin())) {
    exif = exif.subspan(sizeof(kPrefix));
  }
  ExifReader reader(exif);
  if (!reader.read_header()) return 1;
  const std::uint32_t directory = reader.number(4, 4);
  if (!reader.fits(directory, 2)) return 1;
  const std::uint32_t entries = reader.number(directory, 2);
  for (std::uint32_t i = 0; i < entries; ++i) {
    const std::uint64_t entry = std::uint64_t{directory} + 2 + std::uint64_t{i} * 12;
    if (!reader.fits(entry, 12)) return 1;
    constexpr std::uint32_t kOrientation = 0x0112;
    constexpr std::uint32_t kShort = 3;
    if (reader.number(entry, 2) != kOrientation) continue;
    const std::uint32_t value = reader.number(entry + 8, 2);
    const bool valid = reader.number(entry + 2, 2) == kShort && value >= 1 && value <= 8;
    return valid ? static_cast<int>(value) : 1;
  }
  return 1;
}

UprightRows::UprightRows(engine::RgbImage& image, int stored_width, int stored_height, int orientation)
    : image_(image), stored_width_(stored_width) {
  const bool transposed = orientation >= 5;
  image.width = transposed ? stored_height : stored_width;
  image.height = transposed ? stored_width : stored_height;
  const std::int64_t row = std::int64_t{image.width} * 3;
  image.pixels.resize(static_cast<std::size_t>(row * image.height));
  const std::int64_t right = row - 3;
  const std::int64_t bottom = row * (image.height - 1);
  const bool from_right = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
  const bool from_bottom = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
  origin_ = (from_right ? right : 0) + (from_bottom ? bottom : 0);
  const std::int64_t across = from_right ? -3 : 3;
  const std::int64_t down = from_bottom ? -row : row;
  step_x_ = transposed ? down : across;
  step_y_ = transposed ? across : down;
}

void UprightRows::write(int x, int y, int count, const std::uint8_t* rgb) {
  std::uint8_t* const pixels = image_.pixels.data();
  std::int64_t at = origin_ + y * step_y_ + x * step_x_;
  if (step_x_ == 3) {
    std::memcpy(pixels + at, rgb, static_cast<std::size_t>(count) * 3);
    return;
  }
  for (int i = 0; i < count; ++i, at += step_x_, rgb += 3) {
    pixels[at] = rgb[0];
    pixels[at + 1] = rgb[1];
    pixels[at + 2] = rgb[2];
  }
}

void turn_upright(engine::RgbImage& image, int orientation) {
  if (orientation <= 1 || orientation > 8) return;
  engine::RgbImage upright;
  UprightRows rows(upright, image.width, image.height, orientation);
  for (int y = 0; y < image.height; ++y) rows.write(y, image.row(y));
  image = std::move(upright);
}

}  // namespace reelfolio::stages
