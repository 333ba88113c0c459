#pragma once

#include "stages/stage.h"

namespace reelfolio::stages {

/// `read_images`: one unit for an image file, one for each page of a multi-page TIFF, in
/// the file's order. See picture_reader.h for what becomes of colours and orientation.
///
/// A page that cannot be decoded is an error of that page, and the rest goes on; a file
/// with one page fails as a whole. Codes: those of PictureReader, image.page_range (the
/// selection is empty), image.page_limit (there were more pages than max_pages),
/// input.changed (the file is not the one that was probed).
StageType read_images_type();

}  // namespace reelfolio::stages
