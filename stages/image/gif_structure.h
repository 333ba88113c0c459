#pragma once

#include "stages/byte_source.h"

namespace reelfolio::stages {

/// The blocks of a GIF file (GIF89a specification, 1990), walked without decoding.
struct GifStructure {
  int images = 0;          ///< image descriptors seen whose data is there to its end
  bool truncated = false;  ///< the file ends inside a block; a missing trailer alone is no truncation
};

/// Walks until `max_images` complete images, the trailer, a byte that starts no block, or the end.
GifStructure scan_gif(ByteSource& source, int max_images);

}  // namespace reelfolio::stages
