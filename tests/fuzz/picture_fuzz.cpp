#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "engine/rgb_image.h"
#include "stages/byte_source.h"
#include "stages/image/gif_structure.h"
#include "stages/image/orientation.h"
#include "stages/image/signature.h"

using namespace reelfolio;

namespace {

void require(bool fine) {
  if (!fine) std::abort();
}

/// A file without a name that holds `bytes`.
class MemoryFile {
 public:
  MemoryFile(const std::uint8_t* bytes, std::size_t size) : fd_(::memfd_create("picture", MFD_CLOEXEC)) {
    require(fd_ >= 0);
    for (std::size_t done = 0; done < size;) {
      const ssize_t written = ::write(fd_, bytes + done, size - done);
      require(written > 0);
      done += static_cast<std::size_t>(written);
    }
  }
  ~MemoryFile() { ::close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_;
};

void check_orientation(const std::uint8_t* data, std::size_t size) {
  const int orientation = stages::exif_orientation({data, size});
  require(orientation >= 1 && orientation <= 8);
  // The prefix that JPEG puts before the block changes nothing.
  constexpr std::uint8_t kPrefix[] = {'E', 'x', 'i', 'f', 0, 0};
  const bool has_prefix =
      size >= std::size(kPrefix) && std::equal(std::begin(kPrefix), std::end(kPrefix), data);
  std::vector<std::uint8_t> prefixed(std::size(kPrefix) + size);
  std::copy(data, data + size, std::copy(std::begin(kPrefix), std::end(kPrefix), prefixed.begin()));
  if (!has_prefix) require(stages::exif_orientation(prefixed) == orientation);

  engine::RgbImage image;
  image.width = 3;
  image.height = 2;
  for (std::uint8_t i = 0; i < 18; ++i) image.pixels.push_back(i);
  stages::turn_upright(image, orientation);
  require(image.width == (orientation >= 5 ? 2 : 3) && image.pixels.size() == 18);
  std::sort(image.pixels.begin(), image.pixels.end());
  for (std::uint8_t i = 0; i < 18; ++i) require(image.pixels[i] == i);
}

void check_gif(const std::uint8_t* data, std::size_t size) {
  const MemoryFile file(data, size);
  stages::ByteSource source(file.path());
  const stages::GifStructure all = stages::scan_gif(source, 1 << 20);
  const stages::GifStructure two = stages::scan_gif(source, 2);
  require(all.images >= 0 && two.images == std::min(all.images, 2));
  require(two.images == 2 || two.truncated == all.truncated);
}

}  // namespace

/// The parsers of picture headers that are our own, each on the whole input.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (stages::picture_format(text) != stages::PictureFormat::unknown) require(size >= 3);
  check_orientation(data, size);
  check_gif(data, size);
  return 0;
}
