#pragma once

#include <string_view>

namespace reelfolio::stages {

enum class PictureFormat { unknown, png, jpeg, webp, tiff, bmp, gif, pnm };

/// What a picture file is by its first bytes; 4 KiB of them are enough. PBM, PGM and
/// PPM have a short signature, so their header's numbers must follow it.
PictureFormat picture_format(std::string_view head);

}  // namespace reelfolio::stages
