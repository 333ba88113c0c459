#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/rgb_image.h"
#include "stages/error.h"
#include "stages/video/detectors.h"
#include "stages/video/frame_picture.h"
#include "stages/video/frame_score.h"
#include "stages/video/libav.h"
#include "stages/video/stream_reader.h"

namespace reelfolio::stages {

/// A decoded frame with all that its picture depends on. Keeps the pixels of three frames alive.
class HeldFrame {
 public:
  double time_s() const { return time_s_; }
  PictureSize size() const { return size_; }  ///< upright, square pixels
  /// Deinterlaced if need be. `wanted` is of the upright picture. Throws ItemError "video.unsupported".
  engine::RgbImage picture(PictureSize wanted) const;

 private:
  friend class VideoReader;
  libav::FramePtr before_, frame_, after_;  // the neighbours may be null
  double time_s_ = 0;
  PictureSize size_;
  Orientation orientation_;
  AVRational time_base_{1, 1};
};

struct VideoReaderOptions {
  int threads = 0;                    ///< of the decoder; 0: as many as the process may use
  std::function<bool()> interrupted;  ///< asked while reading; once true, reading ends with `Interrupted`
};

/// The frames of one video file with their times, in order of presentation.
///
/// Owns the open file and its decoder, and three decoded frames: the current one and one to each
/// side. Not thread-safe; decodes in threads of its own.
///
/// Times are seconds from the start of the file (of the earliest stream, as players and
/// `ffmpeg -ss` count), from the timestamps, and strictly ascending. Frames before the first
/// timestamp are counted at the stream's rate; where timestamps jump back, or far ahead in a
/// format that allows it (concatenated broadcasts), time goes on from the frame before.
class VideoReader {
 public:
  using Interrupted = StreamReader::Interrupted;

  /// Opens the file and picks the video stream: the default one, then the largest; pictures attached to
  /// sound (cover art) are none. Throws ItemError "input.unreadable", "video.unreadable" (no
  /// container that FFmpeg knows, or damaged beyond use), "video.no_stream", "video.unsupported" (no
  /// decoder).
  explicit VideoReader(const std::filesystem::path& path, VideoReaderOptions options = {});

  /// Moves to the next frame; false at the end. Throws Interrupted.
  bool next();
  /// Moves to the frame that is shown at `time_s`: the last that starts by then, or the first of
  /// the file. False if there is no frame at all. Skips by keyframes where the file has an index and that
  /// saves decoding. Throws Interrupted, and ItemError if the file cannot be opened again.
  bool move_to(double time_s);

  /// All of the current frame; call after `next` or `move_to` returned true.
  double time_s() const { return current_.time_s; }
  /// When the next frame starts; of the last frame, when it ends.
  double end_s() const;
  /// How long the file says it is; absent where it does not.
  std::optional<double> length_s() const { return file_->length_s(); }
  /// Parts of the frame are known to be broken.
  bool is_damaged() const;
  PictureSize size() const;  ///< upright, square pixels
  /// For detectors (see FrameScorer): the longer side reduced to `longer_side` pixels if it has more. Every
  /// frame gets the size that the first one got.
  void score_frame(int longer_side, BgrFrame& out);
  /// The current frame, for a picture that is made after the reader has moved on.
  HeldFrame hold() const;

  /// What went wrong so far; complete once `next` has returned false after reading from the start.
  /// "video.truncated", "video.corrupt", "memory.limit".
  std::vector<ItemError> problems() const;
  /// After reading has failed: whether it was for want of memory.
  bool lacks_memory() const { return file_->lacks_memory(); }

 private:
  struct TimedFrame {
    libav::FramePtr frame;
    double time_s = 0;
    double duration_s = 0;
  };

  void open();
  bool decode(TimedFrame& out);
  void look_at(const AVPacket& packet);
  void set_time(TimedFrame& out);
  double seconds(std::int64_t timestamp) const;
  bool worth_seeking(double time_s) const;
  bool seek(double time_s);
  void restart();
  void forget_frames();
  Orientation orientation() const;

  std::filesystem::path path_;
  VideoReaderOptions options_;
  std::unique_ptr<StreamReader> file_;
  AVStream* stream_ = nullptr;  // owned by file_

  Orientation stream_orientation_;
  double frame_s_ = 0.04;           // usual duration of a frame
  std::optional<double> origin_s_;  // of the file's clock; unknown until a timestamp is seen
  double jump_s_ = 0;               // added where timestamps start over
  std::optional<double> last_time_s_;
  double last_duration_s_ = 0;
  bool counted_ = false;  // the time of the last frame was counted, not read
  bool seekable_ = false;

  TimedFrame before_, current_, after_;
  bool started_ = false;
  double skip_until_s_ = -std::numeric_limits<double>::infinity();
  FrameScorer scorer_;
  std::optional<PictureSize> score_size_;

  // For problems().
  bool from_start_ = true;
  bool at_end_ = false;
  double packets_end_s_ = 0;  // end of the last packet of any stream
  double video_end_s_ = 0;
};

}  // namespace reelfolio::stages
