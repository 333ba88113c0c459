#pragma once

#include "engine/rgb_image.h"
#include "stages/video/libav.h"

/// Decoded frames to pictures: colour, high dynamic range, pixel shape, orientation, interlacing.
/// Functions keep no state; any thread may call them on frames of its own.
namespace reelfolio::stages {

struct PictureSize {
  int width = 0;
  int height = 0;
};

/// How the stored picture becomes an upright one: first transposed (rows become columns), then mirrored.
struct Orientation {
  bool transpose = false;
  bool mirror_x = false;
  bool mirror_y = false;
};

/// From a 3x3 display matrix as FFmpeg stores it (9 values). Angles between the multiples of 90 degrees
/// become the nearest.
Orientation orientation_of(const std::int32_t* matrix);

/// Size of the upright picture with square pixels. `pixel_aspect` is width to height of a pixel;
/// values without sense (zero, beyond 8 to 1) count as 1. The smaller side keeps its pixels.
PictureSize upright_size(const AVFrame& frame, AVRational pixel_aspect, const Orientation& orientation);

/// The frame upright in sRGB, at the size given (of the upright picture). Matrix and range are as tagged, and
/// by picture height where they are not; PQ and HLG are tone-mapped to 203 nits (ITU-R BT.2390), BT.2020
/// primaries are converted. Throws ItemError "video.unsupported".
engine::RgbImage frame_to_rgb(const AVFrame& frame, const Orientation& orientation, PictureSize size);

bool is_interlaced(const AVFrame& frame);
/// `frame` with its fields woven apart (bwdif), given its neighbours in time, which may be null.
/// Returns null if the filter cannot be built for this kind of frame.
libav::FramePtr deinterlace(const AVFrame* before, const AVFrame& frame, const AVFrame* after,
                            AVRational time_base);

}  // namespace reelfolio::stages
