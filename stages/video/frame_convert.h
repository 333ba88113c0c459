#pragma once

#include <cstddef>
#include <cstdint>

#include "stages/video/frame_picture.h"

/// Steps that pictures and scores share.
namespace reelfolio::stages {

/// Whether luma and chroma use all 8-bit values rather than 16..235 (240).
bool is_full_range(const AVFrame& frame);

/// Scales `rows` rows of pictures like `frame` to `width` x `height` and converts them to the RGB format
/// `format`, full range. `flags` are swscale's, `matrix` one of SWS_CS_*. Throws ItemError
/// "video.unsupported".
libav::ScalerPtr make_scaler(const AVFrame& frame, int rows, AVPixelFormat format, int width, int height,
                             int flags, int matrix);

/// The whole frame scaled to `width` x `height` and converted to the RGB format `format`, full range. `flags`
/// are swscale's, `matrix` one of SWS_CS_*. Throws ItemError "video.unsupported".
libav::FramePtr convert_frame(const AVFrame& frame, AVPixelFormat format, int width, int height, int flags,
                              int matrix);

/// Copies three-byte pixels, [height, width] as stored in rows of `stride` bytes, into the upright picture
/// `target`, which has no padding.
void copy_upright(const std::uint8_t* source, std::ptrdiff_t stride, int width, int height,
                  const Orientation& orientation, std::uint8_t* target);

}  // namespace reelfolio::stages
