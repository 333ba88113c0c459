#include "stages/image/gif_structure.h"

#include <array>
#include <cstdint>

namespace reelfolio::stages {
namespace {

/// Reads ahead, because the blocks of a GIF are at most 256 bytes.
class GifReader {
 public:
  explicit GifReader(ByteSource& source) : source_(source) { source_.seek(0); }

  /// False at the end of the file.
  bool byte(std::uint8_t& value) {
    if (position_ == length_) {
      position_ = 0;
      length_ = source_.read(buffer_.data(), buffer_.size());
      if (length_ == 0) return false;
    }
    value = buffer_[position_++];
    return true;
  }

  bool skip(std::size_t count) {
    std::uint8_t ignored = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (!byte(ignored)) return false;
    }
    return true;
  }

  /// Sub-blocks up to and including the empty one that ends them.
  bool skip_sub_blocks() {
    std::uint8_t size = 0;
    do {
      if (!byte(size) || !skip(size)) return false;
    } while (size != 0);
    return true;
  }

  /// A colour table, if the flags of the descriptor announce one.
  bool skip_colours(std::uint8_t flags) {
    return (flags & 0x80U) == 0 || skip(std::size_t{3} << ((flags & 7U) + 1));
  }

 private:
  ByteSource& source_;
  std::array<std::uint8_t, 16384> buffer_{};
  std::size_t position_ = 0;
  std::size_t length_ = 0;
};

}  // namespace

GifStructure scan_gif(ByteSource& source, int max_images) {
  GifStructure found;
  GifReader reader(source);
  std::uint8_t flags = 0;
  if (!reader.skip(6 + 4) || !reader.byte(flags) || !reader.skip(2) || !reader.skip_colours(flags)) {
    found.truncated = true;
    return found;
  }
  std::uint8_t introducer = 0;
  while (found.images < max_images && reader.byte(introducer)) {
    bool complete = true;
    if (introducer == 0x21) {  // extension
      complete = reader.skip(1) && reader.skip_sub_blocks();
    } else if (introducer == 0x2C) {  // image: rectangle, flags, colours, code size, data
      complete = reader.skip(8) && reader.byte(flags) && reader.skip_colours(flags) && reader.skip(1) &&
                 reader.skip_sub_blocks();
      if (complete) ++found.images;
    } else {
      break;  // 0x3B, the trailer, or rubbish after the last image
    }
    if (!complete) {
      found.truncated = true;
      break;
    }
  }
  return found;
}

}  // namespace reelfolio::stages
