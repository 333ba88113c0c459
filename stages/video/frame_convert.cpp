#include "stages/video/frame_convert.h"

#include <new>
#include <string>

#include "stages/error.h"

namespace reelfolio::stages {

bool is_full_range(const AVFrame& frame) {
  switch (frame.format) {
    case AV_PIX_FMT_YUVJ420P:
    case AV_PIX_FMT_YUVJ422P:
    case AV_PIX_FMT_YUVJ444P:
    case AV_PIX_FMT_YUVJ440P:
    case AV_PIX_FMT_YUVJ411P:
      return true;
    default:
      return frame.color_range == AVCOL_RANGE_JPEG;
  }
}

libav::ScalerPtr make_scaler(const AVFrame& frame, int rows, AVPixelFormat format, int width, int height,
                             int flags, int matrix) {
  const auto source_format = static_cast<AVPixelFormat>(frame.format);
  libav::ScalerPtr scaler(sws_getContext(frame.width, rows, source_format, width, height, format, flags,
                                         nullptr, nullptr, nullptr));
  if (!scaler) {
    const char* name = av_get_pix_fmt_name(source_format);
    throw ItemError("video.unsupported", "cannot convert frames of pixel format " +
                                             std::string(name != nullptr ? name : "unknown") + ", " +
                                             std::to_string(frame.width) + "x" +
                                             std::to_string(frame.height));
  }
  // Returns an error for formats that have no matrix (RGB, grey); they need none.
  sws_setColorspaceDetails(scaler.get(), sws_getCoefficients(matrix), is_full_range(frame) ? 1 : 0,
                           sws_getCoefficients(SWS_CS_DEFAULT), 1, 0, 1 << 16, 1 << 16);
  return scaler;
}

libav::FramePtr convert_frame(const AVFrame& frame, AVPixelFormat format, int width, int height, int flags,
                              int matrix) {
  const libav::ScalerPtr scaler = make_scaler(frame, frame.height, format, width, height, flags, matrix);
  libav::FramePtr result = libav::make_frame();
  result->format = format;
  result->width = width;
  result->height = height;
  // Aligned and padded as swscale's vector code expects it.
  if (av_frame_get_buffer(result.get(), 64) < 0) throw std::bad_alloc();
  if (sws_scale(scaler.get(), frame.data, frame.linesize, 0, frame.height, result->data, result->linesize) <=
      0) {
    throw ItemError("video.unsupported", "cannot convert a frame to RGB");
  }
  return result;
}

void copy_upright(const std::uint8_t* source, std::ptrdiff_t stride, int width, int height,
                  const Orientation& o, std::uint8_t* target) {
  const int out_width = o.transpose ? height : width;
  const int out_height = o.transpose ? width : height;
  for (int y = 0; y < out_height; ++y) {
    for (int x = 0; x < out_width; ++x) {
      const int unmirrored_x = o.mirror_x ? out_width - 1 - x : x;
      const int unmirrored_y = o.mirror_y ? out_height - 1 - y : y;
      const int source_x = o.transpose ? unmirrored_y : unmirrored_x;
      const int source_y = o.transpose ? unmirrored_x : unmirrored_y;
      const std::uint8_t* pixel = source + source_y * stride + source_x * 3;
      *target++ = pixel[0];
      *target++ = pixel[1];
      *target++ = pixel[2];
    }
  }
}

}  // namespace reelfolio::stages
