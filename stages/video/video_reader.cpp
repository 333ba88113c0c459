#include "stages/video/video_reader.h"

#include <algorithm>
#include <cmath>
#include <utility>

extern "C" {
#include <libavutil/display.h>
}

namespace reelfolio::stages {
namespace {

// Smaller steps back are two frames out of order, not a new clock.
constexpr double kSmallStepBackS = 1;
// Two frames that claim the same time are kept this far apart.
constexpr double kLeastStepS = 0.001;
// Without an index to ask, reading on is taken to be cheaper than seeking up to this distance.
constexpr double kReadOnS = 8;
// Frames are reordered by less than this, so that dropping unneeded ones can stop this long before a target.
constexpr double kReorderS = 1;
constexpr std::int64_t kMaxFramePixels = 16384LL * 16384;

const std::int32_t* matrix_from(const std::uint8_t* data, std::size_t size) {
  return data != nullptr && size >= 9 * sizeof(std::int32_t) ? reinterpret_cast<const std::int32_t*>(data)
                                                             : nullptr;
}

const std::int32_t* display_matrix(const AVStream& stream) {
#if LIBAVFORMAT_VERSION_MAJOR >= 61
  const AVPacketSideData* side = av_packet_side_data_get(
      stream.codecpar->coded_side_data, stream.codecpar->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX);
  return side != nullptr ? matrix_from(side->data, side->size) : nullptr;
#else
  std::size_t size = 0;
  const std::uint8_t* data = av_stream_get_side_data(&stream, AV_PKT_DATA_DISPLAYMATRIX, &size);
  return matrix_from(data, size);
#endif
}

std::int64_t duration_of(const AVFrame& frame) {
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(57, 30, 100)
  return frame.duration;
#else
  return frame.pkt_duration;
#endif
}

bool is_broken(const AVFrame& frame) {
  return frame.decode_error_flags != 0 || (frame.flags & AV_FRAME_FLAG_CORRUPT) != 0;
}

AVStream* choose_stream(AVFormatContext& format) {
  AVStream* chosen = nullptr;
  const auto rank = [](const AVStream& s) {
    const bool is_default = (s.disposition & AV_DISPOSITION_DEFAULT) != 0;
    return std::pair(is_default, static_cast<std::int64_t>(s.codecpar->width) * s.codecpar->height);
  };
  for (unsigned i = 0; i < format.nb_streams; ++i) {
    AVStream* candidate = format.streams[i];
    if (candidate->codecpar->codec_type != AVMEDIA_TYPE_VIDEO) continue;
    if ((candidate->disposition & (AV_DISPOSITION_ATTACHED_PIC | AV_DISPOSITION_TIMED_THUMBNAILS)) != 0)
      continue;
    if (chosen == nullptr || rank(*candidate) > rank(*chosen)) chosen = candidate;
  }
  if (chosen == nullptr) throw ItemError("video.no_stream", "the file has no video stream");
  return chosen;
}

/// Whether a decoder hands out `held` once more, as of a time that is over: the MPEG-4 one of FFmpeg 7 does
/// so at the end of a stream, with one thread, where the pictures before it were left out. What it repeats to
/// be shown again has a later time.
bool is_left_over(const AVFrame& frame, const AVFrame& held) {
  return frame.data[0] == held.data[0] && frame.best_effort_timestamp != AV_NOPTS_VALUE &&
         frame.best_effort_timestamp <= held.best_effort_timestamp;
}

}  // namespace

VideoReader::VideoReader(const std::filesystem::path& path, VideoReaderOptions options)
    : path_(path), options_(std::move(options)) {
  open();
}

void VideoReader::open() {
  StreamReaderOptions options;
  options.what = "video";
  options.unreadable = "video.unreadable";
  options.unsupported = "video.unsupported";
  options.choose = choose_stream;
  options.configure = [this](AVCodecContext& codec) {
    codec.thread_count = options_.threads;
    codec.max_pixels = kMaxFramePixels;
  };
  options.interrupted = options_.interrupted;
  file_ = std::make_unique<StreamReader>(path_, std::move(options));
  stream_ = file_->stream();

  const std::int32_t* matrix = display_matrix(*stream_);
  stream_orientation_ = matrix != nullptr ? orientation_of(matrix) : Orientation{};
  const AVRational rate = av_guess_frame_rate(&file_->format(), stream_, nullptr);
  if (rate.num > 0 && rate.den > 0 && av_q2d(rate) <= 1000) frame_s_ = 1 / av_q2d(rate);
  // Where the clock may start over a time does not name one place, and the file is read from its start.
  const int flags = file_->format().iformat->flags;
  seekable_ = !file_->clock_may_jump() && (flags & (AVFMT_NOTIMESTAMPS | AVFMT_NOBINSEARCH)) == 0;
  forget_frames();
  origin_s_ = file_->origin_s();
  jump_s_ = 0;
  from_start_ = true;
  packets_end_s_ = 0;
  video_end_s_ = 0;
}

double VideoReader::seconds(std::int64_t timestamp) const {
  return static_cast<double>(timestamp) * av_q2d(stream_->time_base) - origin_s_.value_or(0);
}

void VideoReader::look_at(const AVPacket& packet) {
  if (const std::optional<double> end_s = file_->end_s(packet)) {
    packets_end_s_ = std::max(packets_end_s_, *end_s - origin_s_.value_or(0));
  }
  if (packet.stream_index != stream_->index) return;
  const bool unneeded = packet.pts != AV_NOPTS_VALUE && seconds(packet.pts) < skip_until_s_;
  file_->codec().skip_frame = unneeded ? AVDISCARD_NONREF : AVDISCARD_DEFAULT;
}

bool VideoReader::decode(TimedFrame& out) {
  out.frame = libav::make_frame();
  do {
    at_end_ = !file_->next(*out.frame, last_time_s_.value_or(0),
                           [this](const AVPacket& packet) { look_at(packet); });
  } while (!at_end_ && current_.frame && is_left_over(*out.frame, *current_.frame));
  if (at_end_) {
    out.frame.reset();
    return false;
  }
  set_time(out);
  if (is_broken(*out.frame)) file_->note_broken_frame(out.time_s);
  return true;
}

void VideoReader::set_time(TimedFrame& out) {
  const AVFrame& frame = *out.frame;
  const double usual_s = last_duration_s_ > 0 ? last_duration_s_ : frame_s_;
  const double expected_s = last_time_s_ ? *last_time_s_ + usual_s : 0;
  const std::int64_t stated = duration_of(frame);
  out.duration_s = stated > 0 ? static_cast<double>(stated) * av_q2d(stream_->time_base) : frame_s_;
  if (frame.best_effort_timestamp == AV_NOPTS_VALUE) {
    // Streams cut mid-broadcast may begin without timestamps; count frames until the first one arrives.
    out.time_s = expected_s;
    counted_ = true;
  } else {
    if (!origin_s_) {
      origin_s_ = static_cast<double>(frame.best_effort_timestamp) * av_q2d(stream_->time_base) - expected_s;
    }
    out.time_s = seconds(frame.best_effort_timestamp) + jump_s_;
    if (last_time_s_) {
      const double step_s = out.time_s - *last_time_s_;
      if (step_s < -kSmallStepBackS || (file_->clock_may_jump() && step_s > libav::kLongestPauseS)) {
        jump_s_ += expected_s - out.time_s;
        out.time_s = expected_s;
      } else if (step_s <= 0) {
        out.time_s = *last_time_s_ + kLeastStepS;
      }
    }
    counted_ = false;
  }
  last_time_s_ = out.time_s;
  last_duration_s_ = out.duration_s;
  video_end_s_ = std::max(video_end_s_, out.time_s + out.duration_s);
}

void VideoReader::forget_frames() {
  before_ = {};
  current_ = {};
  after_ = {};
  started_ = false;
  at_end_ = false;
  last_time_s_.reset();
  last_duration_s_ = 0;
}

bool VideoReader::next() {
  if (!started_) {
    started_ = true;
    decode(after_);
  }
  if (!after_.frame) return false;
  before_ = std::move(current_);
  current_ = std::move(after_);
  after_ = {};
  if (!at_end_) decode(after_);
  return true;
}

bool VideoReader::worth_seeking(double time_s) const {
  if (!seekable_ || !origin_s_ || jump_s_ != 0) return false;
  const double position_s = after_.frame ? after_.time_s : current_.time_s;
  if (time_s <= position_s) return false;
  const auto timestamp = static_cast<std::int64_t>((time_s + *origin_s_) / av_q2d(stream_->time_base));
  const AVIndexEntry* entry =
      avformat_index_get_entry_from_timestamp(stream_, timestamp, AVSEEK_FLAG_BACKWARD);
  if (entry != nullptr && seconds(entry->timestamp) > position_s) return true;
  const int known = avformat_index_get_entries_count(stream_);
  const AVIndexEntry* last = known > 0 ? avformat_index_get_entry(stream_, known - 1) : nullptr;
  // An index that reaches past the target and names no keyframe on the way has answered.
  if (last != nullptr && last->timestamp >= timestamp) return false;
  return time_s - position_s > kReadOnS;
}

bool VideoReader::seek(double time_s) {
  if (!seekable_ || !origin_s_ || jump_s_ != 0) return false;
  for (const double earlier_s : {0.0, 2.0, 10.0}) {
    const double wanted_s = std::max(time_s - earlier_s, 0.0);
    const auto timestamp = static_cast<std::int64_t>((wanted_s + *origin_s_) / av_q2d(stream_->time_base));
    if (!file_->seek(timestamp)) return false;
    forget_frames();
    from_start_ = false;
    skip_until_s_ = time_s - kReorderS;
    const bool found = next();
    // Indexes can be wrong, and frames at a keyframe can lack their references: look where it came out.
    if (found && !counted_ && current_.time_s <= time_s) return true;
    if (wanted_s == 0) break;
  }
  return false;
}

void VideoReader::restart() {
  open();
  next();
}

bool VideoReader::move_to(double time_s) {
  if (!started_ && !next()) return false;
  if (!current_.frame) return false;
  const bool back = time_s < current_.time_s && (before_.frame || !from_start_);
  if (back || worth_seeking(time_s)) {
    if (!seek(time_s)) restart();
  }
  skip_until_s_ = time_s - kReorderS;
  while (after_.frame && after_.time_s <= time_s) next();
  skip_until_s_ = -std::numeric_limits<double>::infinity();
  return current_.frame != nullptr;
}

double VideoReader::end_s() const {
  return after_.frame ? after_.time_s : current_.time_s + current_.duration_s;
}

bool VideoReader::is_damaged() const {
  return is_broken(*current_.frame);
}

Orientation VideoReader::orientation() const {
  const AVFrameSideData* side = av_frame_get_side_data(current_.frame.get(), AV_FRAME_DATA_DISPLAYMATRIX);
  const std::int32_t* matrix = side != nullptr ? matrix_from(side->data, side->size) : nullptr;
  return matrix != nullptr ? orientation_of(matrix) : stream_orientation_;
}

PictureSize VideoReader::size() const {
  const AVRational aspect = av_guess_sample_aspect_ratio(&file_->format(), stream_, current_.frame.get());
  return upright_size(*current_.frame, aspect, orientation());
}

HeldFrame VideoReader::hold() const {
  HeldFrame held;
  held.frame_ = libav::share_frame(*current_.frame);
  if (is_interlaced(*current_.frame)) {
    if (before_.frame) held.before_ = libav::share_frame(*before_.frame);
    if (after_.frame) held.after_ = libav::share_frame(*after_.frame);
  }
  held.time_s_ = current_.time_s;
  held.size_ = size();
  held.orientation_ = orientation();
  held.time_base_ = stream_->time_base;
  return held;
}

engine::RgbImage HeldFrame::picture(PictureSize wanted) const {
  if (is_interlaced(*frame_)) {
    const libav::FramePtr whole = deinterlace(before_.get(), *frame_, after_.get(), time_base_);
    if (whole) return frame_to_rgb(*whole, orientation_, wanted);
  }
  return frame_to_rgb(*frame_, orientation_, wanted);
}

void VideoReader::score_frame(int longer_side, BgrFrame& out) {
  if (!score_size_) {
    PictureSize size{current_.frame->width, current_.frame->height};
    if (orientation().transpose) std::swap(size.width, size.height);
    const double factor = static_cast<double>(std::max(size.width, size.height)) / longer_side;
    if (factor > 1) {
      // nearbyint, like PySceneDetect's round, takes halves to even.
      size.width = std::max(1, static_cast<int>(std::nearbyint(size.width / factor)));
      size.height = std::max(1, static_cast<int>(std::nearbyint(size.height / factor)));
    }
    score_size_ = size;
  }
  scorer_.score(*current_.frame, orientation(), *score_size_, out);
}

std::vector<ItemError> VideoReader::problems() const {
  std::vector<ItemError> problems;
  std::optional<double> cut_s;
  if (at_end_ && !file_->seen_frame() && lacks_memory())
    problems.emplace_back(kMemoryLimit, "needs more memory than there is");
  if (from_start_ && at_end_ && file_->seen_frame()) {
    std::string why;
    const bool declared =
        length_s() && file_->format().duration_estimation_method == AVFMT_DURATION_FROM_STREAM;
    const double declared_s = declared ? *length_s() : 0;
    const double read_s = std::max(packets_end_s_, video_end_s_);
    // Headers round, and count frames that are never shown.
    const double tolerance_s = std::max(std::min(1.0, declared_s / 10), 3 * frame_s_);
    if (file_->read_error() != 0) {
      why = file_->read_error_text();
    } else if (declared && jump_s_ == 0 && read_s < declared_s - tolerance_s) {
      why = "the file states " + libav::time_text(declared_s);
    }
    if (!why.empty()) {
      cut_s = video_end_s_;
      problems.emplace_back(libav::error_code(file_->read_error(), "video.truncated"),
                            "the video ends at " + libav::time_text(*cut_s) + ": " + why);
    }
  }
  file_->damage().report("video.corrupt", "packet or frame", "packets or frames", cut_s, problems);
  return problems;
}

}  // namespace reelfolio::stages
