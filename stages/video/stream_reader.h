#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "stages/video/libav.h"

namespace reelfolio::stages {

struct StreamReaderOptions {
  const char* what = "";         ///< of the error "cannot open as a WHAT"
  const char* unreadable = "";   ///< its code
  const char* unsupported = "";  ///< code of the error where there is no decoder
  /// Chooses the stream to decode, and may discard others; null: there is none. May throw.
  std::function<AVStream*(AVFormatContext&)> choose;
  std::function<void(AVCodecContext&)> configure;  ///< sets up the decoder before it is opened
  std::function<bool()> interrupted;  ///< asked while reading; once true, reading ends with `Interrupted`
};

/// One stream of a media file as the frames that its decoder gives, in its order, and what went wrong on the
/// way: what VideoReader and AudioReader have in common. Times are theirs to make of the timestamps.
///
/// Owns the open file and its decoder. Not thread-safe; decoders may use threads of their own.
class StreamReader {
 public:
  struct Interrupted {};
  /// Told of each packet that is read, of any stream, before it is decoded.
  using PacketRead = std::function<void(const AVPacket&)>;

  /// Opens the file and the decoder. Throws Interrupted, ItemError "input.unreadable", those of the options,
  /// and what they throw.
  StreamReader(const std::filesystem::path& path, StreamReaderOptions options);

  AVFormatContext& format() const { return *format_; }
  /// Null: none was chosen. Then there is no `codec`, and `next` and `seek` are not for calling.
  AVStream* stream() const { return stream_; }
  AVCodecContext& codec() const { return *codec_; }
  bool interrupted() const { return input_->interrupted(); }
  /// How long the file says it is, with all its streams; absent where it does not.
  std::optional<double> length_s() const;
  /// Where the file's clock starts, by its earliest stream; absent where that is not known.
  std::optional<double> origin_s() const;
  /// The clock may start over in this format, as in concatenated broadcasts.
  bool clock_may_jump() const { return (format_->iformat->flags & AVFMT_TS_DISCONT) != 0; }
  /// When a packet ends, by the file's clock; absent where it has no timestamp.
  std::optional<double> end_s(const AVPacket& packet) const;

  /// Decodes the next frame that holds anything; false at the end. `position_s`: how far the caller has come,
  /// to be named with damage. Throws Interrupted.
  bool next(AVFrame& frame, double position_s, const PacketRead& packet_read);
  /// Goes on from a keyframe at `timestamp`, in units of the stream, or before; false where that cannot be.
  bool seek(std::int64_t timestamp);

  /// `next` has returned true.
  bool seen_frame() const { return frames_ > 0; }
  /// The frame that `next` gave last is known to be broken.
  void note_broken_frame(double time_s);
  /// FFmpeg's error that ended reading before the file's end; 0: none.
  int read_error() const { return read_error_; }
  const std::string& read_error_text() const { return read_error_text_; }
  /// Of packets and frames.
  const libav::Damage& damage() const { return damage_; }
  void forget_damage() { damage_.reset(); }
  /// After reading has failed: whether it was for want of memory. FFmpeg tells it only in part, so memory is
  /// asked for once more. Before the first frame that reads the file anew, and `next` is not for calling any
  /// more.
  bool lacks_memory() const;

 private:
  void feed(double position_s, const PacketRead& packet_read);
  void note_damage(int code, double position_s);
  bool has_room_for_frame() const;
  bool has_room_for_packets() const;

  std::unique_ptr<libav::FileInput> input_;
  libav::FormatPtr format_;
  libav::CodecPtr codec_;
  libav::PacketPtr packet_;
  AVStream* stream_ = nullptr;  // owned by format_
  bool input_ended_ = false;

  std::int64_t frames_ = 0;
  libav::Damage damage_;
  int read_error_ = 0;
  std::string read_error_text_;
};

}  // namespace reelfolio::stages
