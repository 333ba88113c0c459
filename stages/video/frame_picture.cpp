#include "stages/video/frame_picture.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string>

#include "stages/video/frame_convert.h"
#include "stages/video/tone_map.h"

extern "C" {
#include <libavfilter/buffersink.h>
#include <libavfilter/buffersrc.h>
#include <libavutil/imgutils.h>
#include <libavutil/mastering_display_metadata.h>
}

namespace reelfolio::stages {
namespace {

int matrix_of(const AVFrame& frame) {
  switch (frame.colorspace) {
    case AVCOL_SPC_BT709:
      return SWS_CS_ITU709;
    case AVCOL_SPC_FCC:
      return SWS_CS_FCC;
    case AVCOL_SPC_BT470BG:
    case AVCOL_SPC_SMPTE170M:
      return SWS_CS_ITU601;
    case AVCOL_SPC_SMPTE240M:
      return SWS_CS_SMPTE240M;
    case AVCOL_SPC_BT2020_NCL:
    case AVCOL_SPC_BT2020_CL:
      return SWS_CS_BT2020;
    default:
      break;
  }
  if (frame.color_primaries == AVCOL_PRI_BT2020) return SWS_CS_BT2020;
  // Players' convention for untagged video: high definition is BT.709.
  return frame.height >= 720 || frame.width >= 1280 ? SWS_CS_ITU709 : SWS_CS_ITU601;
}

double peak_nits(const AVFrame& frame) {
  constexpr double kUsualPeak = 1000;
  const AVFrameSideData* side = av_frame_get_side_data(&frame, AV_FRAME_DATA_MASTERING_DISPLAY_METADATA);
  if (side == nullptr || side->size < sizeof(AVMasteringDisplayMetadata)) return kUsualPeak;
  const auto* metadata = reinterpret_cast<const AVMasteringDisplayMetadata*>(side->data);
  if (metadata->has_luminance == 0 || metadata->max_luminance.den == 0) return kUsualPeak;
  const double peak = av_q2d(metadata->max_luminance);
  return peak >= 203 && peak <= 10000 ? peak : kUsualPeak;
}

}  // namespace

Orientation orientation_of(const std::int32_t* matrix) {
  // A point moves to (m0 x + m3 y, m1 x + m4 y).
  const double m0 = matrix[0], m1 = matrix[1], m3 = matrix[3], m4 = matrix[4];
  Orientation result;
  result.transpose = std::abs(m1) + std::abs(m3) > std::abs(m0) + std::abs(m4);
  result.mirror_x = (result.transpose ? m3 : m0) < 0;
  result.mirror_y = (result.transpose ? m1 : m4) < 0;
  return result;
}

PictureSize upright_size(const AVFrame& frame, AVRational pixel_aspect, const Orientation& orientation) {
  double aspect = pixel_aspect.num > 0 && pixel_aspect.den > 0 ? av_q2d(pixel_aspect) : 1;
  if (aspect > 8 || aspect < 1.0 / 8) aspect = 1;
  PictureSize size{frame.width, frame.height};
  if (aspect > 1) size.width = static_cast<int>(std::lround(size.width * aspect));
  if (aspect < 1) size.height = static_cast<int>(std::lround(size.height / aspect));
  if (orientation.transpose) std::swap(size.width, size.height);
  return size;
}

engine::RgbImage frame_to_rgb(const AVFrame& frame, const Orientation& orientation, PictureSize size) {
  const int width = orientation.transpose ? size.height : size.width;
  const int height = orientation.transpose ? size.width : size.height;
  // Averaging is the filter that neither blurs nor rings where a picture shrinks.
  const bool shrinks = width < frame.width && height < frame.height;
  const int flags = (shrinks ? SWS_AREA : SWS_BICUBIC) | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_BITEXACT;
  const std::optional<ToneMap> tone_map =
      make_tone_map(frame.color_trc, frame.color_primaries, peak_nits(frame));
  libav::FramePtr rgb;
  if (tone_map) {
    const libav::FramePtr deep =
        convert_frame(frame, AV_PIX_FMT_RGB48LE, width, height, flags, matrix_of(frame));
    rgb = libav::make_frame();
    rgb->format = AV_PIX_FMT_RGB24;
    rgb->width = width;
    rgb->height = height;
    if (av_frame_get_buffer(rgb.get(), 64) < 0) throw std::bad_alloc();
    for (int y = 0; y < height; ++y) {
      tone_map->apply(deep->data[0] + static_cast<std::ptrdiff_t>(y) * deep->linesize[0], width,
                      rgb->data[0] + static_cast<std::ptrdiff_t>(y) * rgb->linesize[0]);
    }
  } else {
    rgb = convert_frame(frame, AV_PIX_FMT_RGB24, width, height, flags, matrix_of(frame));
  }
  engine::RgbImage image;
  image.width = size.width;
  image.height = size.height;
  image.pixels.resize(static_cast<std::size_t>(size.width) * size.height * 3);
  copy_upright(rgb->data[0], rgb->linesize[0], width, height, orientation, image.pixels.data());
  return image;
}

bool is_interlaced(const AVFrame& frame) {
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(58, 7, 100)
  return (frame.flags & AV_FRAME_FLAG_INTERLACED) != 0;
#else
  return frame.interlaced_frame != 0;
#endif
}

libav::FramePtr deinterlace(const AVFrame* before, const AVFrame& frame, const AVFrame* after,
                            AVRational time_base) {
  const AVFilter* source_type = avfilter_get_by_name("buffer");
  const AVFilter* sink_type = avfilter_get_by_name("buffersink");
  const AVFilter* bwdif_type = avfilter_get_by_name("bwdif");
  const libav::FilterGraphPtr graph(avfilter_graph_alloc());
  if (!graph || bwdif_type == nullptr || source_type == nullptr || sink_type == nullptr) return nullptr;
  graph->nb_threads = 1;
  const std::string arguments = "video_size=" + std::to_string(frame.width) + "x" +
                                std::to_string(frame.height) + ":pix_fmt=" + std::to_string(frame.format) +
                                ":time_base=" + std::to_string(std::max(time_base.num, 1)) + "/" +
                                std::to_string(std::max(time_base.den, 1));
  AVFilterContext* source = nullptr;
  AVFilterContext* bwdif = nullptr;
  AVFilterContext* sink = nullptr;
  if (avfilter_graph_create_filter(&source, source_type, "source", arguments.c_str(), nullptr, graph.get()) <
          0 ||
      avfilter_graph_create_filter(&bwdif, bwdif_type, "bwdif", "mode=send_frame:deint=all", nullptr,
                                   graph.get()) < 0 ||
      avfilter_graph_create_filter(&sink, sink_type, "sink", nullptr, nullptr, graph.get()) < 0 ||
      avfilter_link(source, 0, bwdif, 0) < 0 || avfilter_link(bwdif, 0, sink, 0) < 0 ||
      avfilter_graph_config(graph.get(), nullptr) < 0) {
    return nullptr;
  }
  const auto fits = [&frame](const AVFrame* other) {
    return other != nullptr && other->width == frame.width && other->height == frame.height &&
           other->format == frame.format;
  };
  // The filter wants a frame on each side. One that is missing is replaced by the frame itself.
  const AVFrame* inputs[] = {fits(before) ? before : &frame, &frame, fits(after) ? after : &frame};
  std::int64_t pts = 0;
  for (const AVFrame* input : inputs) {
    libav::FramePtr copy = libav::share_frame(*input);
    copy->pts = pts++;
    if (av_buffersrc_add_frame(source, copy.get()) < 0) return nullptr;
  }
  if (av_buffersrc_add_frame(source, nullptr) < 0) return nullptr;
  libav::FramePtr result = libav::make_frame();
  for (int i = 0; i < 2; ++i) {
    av_frame_unref(result.get());
    if (av_buffersink_get_frame(sink, result.get()) < 0) return nullptr;
  }
  if (result->width != frame.width || result->height != frame.height) return nullptr;
  av_frame_copy_props(result.get(), &frame);
  return result;
}

}  // namespace reelfolio::stages
