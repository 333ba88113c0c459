#include "stages/video/frame_score.h"

#include <algorithm>
#include <cmath>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include "stages/video/frame_convert.h"

namespace reelfolio::stages {
namespace {

// What OpenCV's video reader asks of swscale. For the usual formats and an even height it picks a converter
// that treats each pair of rows by itself.
constexpr int kFlags = SWS_BICUBIC;
constexpr int kPair = 2;

bool converts_by_pairs(const AVFrame& frame) {
  switch (frame.format) {
    case AV_PIX_FMT_YUV420P:
    case AV_PIX_FMT_YUVJ420P:
    case AV_PIX_FMT_YUV422P:
    case AV_PIX_FMT_YUVJ422P:
      return frame.height % kPair == 0;
    default:
      return false;
  }
}

/// The pairs of rows that a bilinear reduction reads.
std::vector<bool> pairs_read(int source, int target) {
  std::vector<bool> read(static_cast<std::size_t>((source + 1) / kPair), source <= target);
  const double scale = static_cast<double>(source) / target;
  for (int i = 0; i < target; ++i) {
    const int row = static_cast<int>(std::floor((i + 0.5) * scale - 0.5));
    for (const int r : {row, row + 1})
      read[static_cast<std::size_t>(std::clamp(r, 0, source - 1) / kPair)] = true;
  }
  return read;
}

}  // namespace

struct FrameScorer::State {
  libav::ScalerPtr scaler;
  int width = 0;
  int height = 0;
  int format = -1;
  cv::Mat bgr;  // [height, width], rows aligned for swscale's vector code
  std::vector<std::uint8_t> bgr_memory;
  cv::Mat small;

  void prepare(const AVFrame& frame) {
    if (scaler && width == frame.width && height == frame.height && format == frame.format) return;
    width = frame.width;
    height = frame.height;
    format = frame.format;
    const int rows = converts_by_pairs(frame) ? kPair : height;
    scaler = make_scaler(frame, rows, AV_PIX_FMT_BGR24, width, rows, kFlags, SWS_CS_DEFAULT);
    constexpr std::size_t kAlign = 64;
    const std::size_t stride = (static_cast<std::size_t>(width) * 3 + kAlign - 1) / kAlign * kAlign + kAlign;
    bgr_memory.assign(stride * height + kAlign, 0);
    void* start = bgr_memory.data();
    std::size_t space = bgr_memory.size();
    std::align(kAlign, stride * height, start, space);
    bgr = cv::Mat(height, width, CV_8UC3, start, stride);
  }

  void convert_rows(const AVFrame& frame, int row, int count, int chroma_shift) {
    const std::uint8_t* source[4];
    for (int i = 0; i < 4; ++i) {
      const int r = i == 1 || i == 2 ? row >> chroma_shift : row;
      source[i] = frame.data[i] != nullptr && row > 0
                      ? frame.data[i] + static_cast<std::ptrdiff_t>(r) * frame.linesize[i]
                      : frame.data[i];
    }
    std::uint8_t* target[4] = {bgr.ptr(row), nullptr, nullptr, nullptr};
    const int strides[4] = {static_cast<int>(bgr.step), 0, 0, 0};
    sws_scale(scaler.get(), source, frame.linesize, 0, count, target, strides);
  }
};

FrameScorer::FrameScorer() : state_(std::make_unique<State>()) {}
FrameScorer::~FrameScorer() = default;
FrameScorer::FrameScorer(FrameScorer&&) noexcept = default;
FrameScorer& FrameScorer::operator=(FrameScorer&&) noexcept = default;

void FrameScorer::score(const AVFrame& frame, const Orientation& orientation, PictureSize size,
                        BgrFrame& out) {
  State& s = *state_;
  s.prepare(frame);
  const int width = orientation.transpose ? size.height : size.width;
  const int height = orientation.transpose ? size.width : size.height;
  if (converts_by_pairs(frame)) {
    // Of a large picture the reduction reads a few rows; the others are not converted.
    const std::vector<bool> read = pairs_read(frame.height, height);
    const int shift = frame.format == AV_PIX_FMT_YUV420P || frame.format == AV_PIX_FMT_YUVJ420P ? 1 : 0;
    for (std::size_t pair = 0; pair < read.size(); ++pair) {
      if (read[pair]) s.convert_rows(frame, static_cast<int>(pair) * kPair, kPair, shift);
    }
  } else {
    s.convert_rows(frame, 0, frame.height, 0);
  }
  out.width = size.width;
  out.height = size.height;
  out.pixels.resize(static_cast<std::size_t>(width) * height * 3);
  const bool upright = !orientation.transpose && !orientation.mirror_x && !orientation.mirror_y;
  cv::Mat target(height, width, CV_8UC3, out.pixels.data());
  if (!upright) {
    s.small.create(height, width, CV_8UC3);
    target = s.small;
  }
  cv::resize(s.bgr, target, cv::Size(width, height), 0, 0, cv::INTER_LINEAR);
  if (!upright) {
    copy_upright(target.ptr(), static_cast<std::ptrdiff_t>(target.step), width, height, orientation,
                 out.pixels.data());
  }
}

}  // namespace reelfolio::stages
