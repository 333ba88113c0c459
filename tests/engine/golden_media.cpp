#include "tests/engine/golden_media.h"

#include <png.h>

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

namespace reelfolio::test {

engine::RgbImage read_png(const std::filesystem::path& path) {
  png_image png;
  std::memset(&png, 0, sizeof png);
  png.version = PNG_IMAGE_VERSION;
  if (png_image_begin_read_from_file(&png, path.c_str()) == 0) {
    throw std::runtime_error("cannot read " + path.string());
  }
  png.format = PNG_FORMAT_RGB;
  engine::RgbImage image;
  image.width = static_cast<int>(png.width);
  image.height = static_cast<int>(png.height);
  image.pixels.resize(PNG_IMAGE_SIZE(png));
  if (png_image_finish_read(&png, nullptr, image.pixels.data(), 0, nullptr) == 0) {
    throw std::runtime_error("cannot decode " + path.string());
  }
  return image;
}

engine::AudioClip read_wav(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  constexpr std::size_t kHeader = 44;
  if (bytes.size() < kHeader || bytes.compare(36, 4, "data") != 0) {
    throw std::runtime_error("not a plain WAV file: " + path.string());
  }
  engine::AudioClip clip;
  for (std::size_t at = kHeader; at + 2 <= bytes.size(); at += 2) {
    std::int16_t sample;
    std::memcpy(&sample, bytes.data() + at, sizeof sample);
    clip.samples.push_back(static_cast<float>(sample) / 32768.0F);
  }
  return clip;
}

}  // namespace reelfolio::test
