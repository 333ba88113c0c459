#include <algorithm>
#include <cmath>
#include <vector>

#include "stages/video/frame_convert.h"
#include "stages/video/frame_picture.h"

// A conversion of the whole frame would cost several times what the detectors do. The
// samples that the small picture needs are taken from the planes instead, in loops that a compiler can turn
// into vector code: rows are blended in pairs, columns picked and blended, and a row converted at once.
namespace reelfolio::stages {
namespace {

/// Position and weight of a bilinear sample, as cv::resize places it: pixel centres aligned, edges repeated.
struct Tap {
  int first = 0;
  int second = 0;
  int weight = 0;  // of `second`, in 256ths
};

std::vector<Tap> make_taps(int source, int target) {
  std::vector<Tap> taps(static_cast<std::size_t>(target));
  const double scale = static_cast<double>(source) / target;
  for (int i = 0; i < target; ++i) {
    const double at = (i + 0.5) * scale - 0.5;
    const int first = static_cast<int>(std::floor(at));
    Tap& tap = taps[static_cast<std::size_t>(i)];
    tap.first = std::clamp(first, 0, source - 1);
    tap.second = std::clamp(first + 1, 0, source - 1);
    tap.weight = static_cast<int>(std::lround((at - first) * 256));
  }
  return taps;
}

/// line[x] = 256 times the mean of two rows of `count` samples.
void blend_rows(const std::uint8_t* upper, const std::uint8_t* lower, int weight, int count,
                std::uint16_t* line) {
  const auto w1 = static_cast<std::uint16_t>(weight);
  const auto w0 = static_cast<std::uint16_t>(256 - weight);
  for (int x = 0; x < count; ++x) line[x] = static_cast<std::uint16_t>(upper[x] * w0 + lower[x] * w1);
}

/// out[x] = the blended line at each tap, again 256-fold: values are 65536 times a sample's.
template <typename Line>
void pick_columns(const Line* line, const std::vector<Tap>& taps, int shift, float* out) {
  const Tap* tap = taps.data();
  const std::size_t count = taps.size();
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t a = line[tap[i].first >> shift];
    const std::uint32_t b = line[tap[i].second >> shift];
    out[i] = static_cast<float>(a * static_cast<std::uint32_t>(256 - tap[i].weight) +
                                b * static_cast<std::uint32_t>(tap[i].weight));
  }
}

/// BT.601. `scale_*` and `black` turn samples (65536-fold) into 8-bit full range.
struct ToBgr {
  float scale_luma;
  float black;
  float scale_chroma;
  float neutral;

  void row(const float* y, const float* u, const float* v, std::size_t count, std::uint8_t* planes,
           std::uint8_t* bgr) const {
    std::uint8_t* blue = planes;
    std::uint8_t* green = planes + count;
    std::uint8_t* red = planes + 2 * count;
    const auto to_byte = [](float value) {
      value = value < 0.0F ? 0.0F : value;
      value = value > 255.0F ? 255.0F : value;
      return static_cast<std::uint8_t>(static_cast<int>(value + 0.5F));
    };
    for (std::size_t i = 0; i < count; ++i) {
      const float grey = (y[i] - black) * scale_luma;
      const float cb = (u[i] - neutral) * scale_chroma;
      const float cr = (v[i] - neutral) * scale_chroma;
      blue[i] = to_byte(grey + 1.772F * cb);
      green[i] = to_byte(grey - 0.344136F * cb - 0.714136F * cr);
      red[i] = to_byte(grey + 1.402F * cr);
    }
    for (std::size_t i = 0; i < count; ++i) {
      bgr[3 * i] = blue[i];
      bgr[3 * i + 1] = green[i];
      bgr[3 * i + 2] = red[i];
    }
  }
};

/// One component of a YUV frame, wherever the format keeps it.
class Plane {
 public:
  Plane(const AVFrame& frame, const AVPixFmtDescriptor& format, int component)
      : frame_(frame),
        component_(format.comp[component]),
        shift_x_(component == 0 ? 0 : format.log2_chroma_w),
        shift_y_(component == 0 ? 0 : format.log2_chroma_h),
        width_(AV_CEIL_RSHIFT(frame.width, shift_x_)),
        bytes_(static_cast<std::size_t>(width_)),
        words_(component_.depth > 8 ? static_cast<std::size_t>(width_) : 0) {}

  void sample(const Tap& y, const std::vector<Tap>& columns, float* out) {
    const std::uint8_t* upper = row(y.first);
    const std::uint8_t* lower = row(y.second);
    if (component_.depth > 8) {
      const auto w1 = static_cast<std::uint32_t>(y.weight);
      for (int x = 0; x < width_; ++x) {
        words_[static_cast<std::size_t>(x)] = deep(upper, x) * (256 - w1) + deep(lower, x) * w1;
      }
      pick_columns(words_.data(), columns, shift_x_, out);
      return;
    }
    if (component_.step == 1) {
      blend_rows(upper, lower, y.weight, width_, bytes_.data());
    } else {
      for (int x = 0; x < width_; ++x) {
        const std::ptrdiff_t at = static_cast<std::ptrdiff_t>(x) * component_.step;
        bytes_[static_cast<std::size_t>(x)] =
            static_cast<std::uint16_t>(upper[at] * (256 - y.weight) + lower[at] * y.weight);
      }
    }
    pick_columns(bytes_.data(), columns, shift_x_, out);
  }

 private:
  const std::uint8_t* row(int y) const {
    return frame_.data[component_.plane] +
           static_cast<std::ptrdiff_t>(y >> shift_y_) * frame_.linesize[component_.plane] + component_.offset;
  }
  std::uint32_t deep(const std::uint8_t* start, int x) const {
    const std::uint8_t* p = start + static_cast<std::ptrdiff_t>(x) * component_.step;
    const auto value = static_cast<std::uint32_t>(p[0] | p[1] << 8) >> component_.shift;
    return value & ((1U << component_.depth) - 1);
  }

  const AVFrame& frame_;
  const AVComponentDescriptor& component_;
  int shift_x_;
  int shift_y_;
  int width_;
  std::vector<std::uint16_t> bytes_;
  std::vector<std::uint32_t> words_;
};

void sample_yuv(const AVFrame& frame, const AVPixFmtDescriptor& format, int width, int height,
                std::uint8_t* out) {
  const bool full = is_full_range(frame);
  const float unit = 65536.0F * static_cast<float>(1 << (format.comp[0].depth - 8));  // of an 8-bit step
  const ToBgr to_bgr{(full ? 1.0F : 255.0F / 219.0F) / unit, full ? 0.0F : 16.0F * unit,
                     (full ? 1.0F : 255.0F / 224.0F) / unit, 128.0F * unit};
  const std::vector<Tap> columns = make_taps(frame.width, width);
  const auto count = static_cast<std::size_t>(width);
  std::vector<float> line(3 * count);
  std::vector<std::uint8_t> planes(3 * count);
  Plane luma(frame, format, 0);
  Plane blue(frame, format, 1);
  Plane red(frame, format, 2);
  for (const Tap& y : make_taps(frame.height, height)) {
    luma.sample(y, columns, line.data());
    blue.sample(y, columns, line.data() + count);
    red.sample(y, columns, line.data() + 2 * count);
    to_bgr.row(line.data(), line.data() + count, line.data() + 2 * count, count, planes.data(), out);
    out += 3 * count;
  }
}

/// The same from packed BGR.
void sample_bgr(const AVFrame& frame, int width, int height, std::uint8_t* out) {
  const std::vector<Tap> columns = make_taps(frame.width, width);
  std::vector<std::uint16_t> line(static_cast<std::size_t>(frame.width) * 3);
  for (const Tap& y : make_taps(frame.height, height)) {
    blend_rows(frame.data[0] + static_cast<std::ptrdiff_t>(y.first) * frame.linesize[0],
               frame.data[0] + static_cast<std::ptrdiff_t>(y.second) * frame.linesize[0], y.weight,
               frame.width * 3, line.data());
    for (const Tap& x : columns) {
      for (int c = 0; c < 3; ++c) {
        const int a = line[static_cast<std::size_t>(x.first * 3 + c)];
        const int b = line[static_cast<std::size_t>(x.second * 3 + c)];
        *out++ = static_cast<std::uint8_t>((a * (256 - x.weight) + b * x.weight + 32768) >> 16);
      }
    }
  }
}

bool is_plain_yuv(const AVFrame& frame, const AVPixFmtDescriptor* format) {
  constexpr std::uint64_t kOther = AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL | AV_PIX_FMT_FLAG_BITSTREAM |
                                   AV_PIX_FMT_FLAG_HWACCEL | AV_PIX_FMT_FLAG_BE | AV_PIX_FMT_FLAG_FLOAT |
                                   AV_PIX_FMT_FLAG_BAYER;
  return format != nullptr && (format->flags & kOther) == 0 && format->nb_components >= 3 &&
         format->comp[0].depth >= 8 && format->comp[0].depth <= 16 && frame.format != AV_PIX_FMT_XYZ12LE;
}

}  // namespace

void frame_to_score(const AVFrame& frame, const Orientation& orientation, PictureSize size, BgrFrame& out) {
  const int width = orientation.transpose ? size.height : size.width;
  const int height = orientation.transpose ? size.width : size.height;
  out.width = size.width;
  out.height = size.height;
  out.pixels.resize(static_cast<std::size_t>(width) * height * 3);
  const bool upright = !orientation.transpose && !orientation.mirror_x && !orientation.mirror_y;
  std::vector<std::uint8_t> stored;
  if (!upright) stored.resize(out.pixels.size());
  std::uint8_t* target = upright ? out.pixels.data() : stored.data();

  const auto* format = av_pix_fmt_desc_get(static_cast<AVPixelFormat>(frame.format));
  if (is_plain_yuv(frame, format)) {
    sample_yuv(frame, *format, width, height, target);
  } else {
    const libav::FramePtr bgr = convert_frame(frame, AV_PIX_FMT_BGR24, frame.width, frame.height,
                                              SWS_BICUBIC | SWS_BITEXACT, SWS_CS_ITU601);
    sample_bgr(*bgr, width, height, target);
  }
  if (!upright) copy_upright(stored.data(), width * 3, width, height, orientation, out.pixels.data());
}

}  // namespace reelfolio::stages
