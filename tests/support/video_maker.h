#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

extern "C" {
#include <libavutil/frame.h>
}

/// Small videos for tests, encoded on the fly.
namespace reelfolio::test {

struct VideoSpec {
  std::string container = "matroska";  ///< FFmpeg's muxer name: matroska, mp4, m4v (no timestamps), mpegts
  std::string codec = "ffv1";          ///< lossless; mpeg4 for formats that lack it
  AVPixelFormat format = AV_PIX_FMT_YUV420P;
  int width = 64;
  int height = 48;
  int fps = 25;
  int b_frames = 0;
  int rotation = 0;  ///< degrees clockwise that a player turns the picture by
  bool interlaced = false;
  AVRational pixel_aspect{0, 1};
  AVColorTransferCharacteristic transfer = AVCOL_TRC_UNSPECIFIED;
  AVColorPrimaries primaries = AVCOL_PRI_UNSPECIFIED;
  AVColorSpace matrix = AVCOL_SPC_UNSPECIFIED;
  AVColorRange range = AVCOL_RANGE_MPEG;
  /// Presentation time of a frame in milliseconds; empty: by fps.
  std::function<std::int64_t(int)> time_ms;
};

/// Encodes `count` frames that `paint` fills. Throws std::runtime_error.
void make_video(const std::filesystem::path& path, const VideoSpec& spec, int count,
                const std::function<void(AVFrame&, int)>& paint);

/// Fills columns [x0, x1) of a planar YUV frame, given the luma size; codes are as stored.
void fill(AVFrame& frame, int x0, int x1, int y, int u, int v);
/// All of it.
void fill(AVFrame& frame, int y, int u, int v);
/// Vertical stripes of black and white, 8 pixels wide, that start at `phase`.
void stripes(AVFrame& frame, int phase);

/// A file of its own name in the temporary folder, removed at the end.
class TempFile {
 public:
  explicit TempFile(const std::string& suffix);
  ~TempFile();
  TempFile(const TempFile&) = delete;
  TempFile& operator=(const TempFile&) = delete;
  const std::filesystem::path& path() const { return path_; }
  void write(const std::string& bytes) const;
  std::string read() const;

 private:
  std::filesystem::path path_;
};

}  // namespace reelfolio::test
