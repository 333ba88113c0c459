#include "stages/audio/audio_reader.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "engine/audio_clip.h"

namespace reelfolio::stages {
namespace {

constexpr double kSampleRate = engine::kAudioSampleRate;
// Deviations of timestamps: below the first they are rounding, from the second on they are followed at once,
// and between the two when so many frames in a row deviate to the same side.
constexpr double kRoundingS = 0.005;
constexpr double kJumpS = 0.040;
constexpr std::size_t kLastingFrames = 10;
// A larger step back is a new clock, not an overlap; so is an overlap that does not end.
constexpr double kLongestOverlapS = 1;
// What one file may be silent in all gaps together: a damaged timestamp must not make days of silence.
constexpr double kMostSilenceS = 12 * 3600;
constexpr std::int64_t kSilenceAtOnce = engine::kAudioSampleRate;
constexpr std::int64_t kMostFrameSamples = 1 << 24;

/// What a RIFF file (WAV) lacks at its end by its header, which FFmpeg does not compare with the file. The
/// largest sizes stand for "not known" in files that were written to a pipe. Leaves `io` near its start.
std::int64_t missing_riff_bytes(AVIOContext& io) {
  constexpr std::int64_t kNotKnown = 0x7FFFF000;
  std::array<unsigned char, 8> head{};
  avio_seek(&io, 0, SEEK_SET);
  const bool whole =
      avio_read(&io, head.data(), static_cast<int>(head.size())) == static_cast<int>(head.size());
  const bool is_riff = whole && std::equal(head.begin(), head.begin() + 4, "RIFF");
  const std::int64_t stated =
      8 + (head[4] | std::int64_t{head[5]} << 8 | std::int64_t{head[6]} << 16 | std::int64_t{head[7]} << 24);
  if (!is_riff || stated >= kNotKnown) return 0;
  return std::max<std::int64_t>(stated - avio_size(&io), 0);
}

StreamReaderOptions stream_options(AudioReaderOptions options) {
  StreamReaderOptions result;
  result.what = "sound or video";
  result.unreadable = "audio.unreadable";
  result.unsupported = "audio.unsupported";
  result.choose = [choice = std::move(options.track)](AVFormatContext& format) {
    AVStream* track = choose_track(format, choice);
    for (unsigned i = 0; track != nullptr && i < format.nb_streams; ++i) {
      if (format.streams[i] != track) format.streams[i]->discard = AVDISCARD_ALL;
    }
    return track;
  };
  result.configure = [](AVCodecContext& codec) {
    codec.thread_count = 1;
    codec.max_samples = kMostFrameSamples;
  };
  result.interrupted = std::move(options.interrupted);
  return result;
}

}  // namespace

AudioReader::AudioReader(const std::filesystem::path& path, AudioReaderOptions options)
    : file_(path, stream_options(std::move(options))),
      frame_(libav::make_frame()),
      origin_s_(file_.origin_s()),
      at_end_(!has_track()) {}

bool AudioReader::next(std::vector<float>& samples) {
  while (true) {
    samples.clear();
    if (!ready_.empty()) {
      samples.swap(ready_);
    } else if (silence_ > 0) {
      if (file_.interrupted()) throw Interrupted{};
      samples.assign(static_cast<std::size_t>(std::min(silence_, kSilenceAtOnce)), 0.0F);
      silence_ -= static_cast<std::int64_t>(samples.size());
    } else if (at_end_) {
      return false;
    } else if (frame_waits_ || decode()) {
      place_frame();
    } else {
      end_stretch();
      at_end_ = true;
      lacks_memory_ = !file_.seen_frame() && file_.lacks_memory();
    }
    if (!samples.empty()) {
      given_ += static_cast<std::int64_t>(samples.size());
      return true;
    }
  }
}

bool AudioReader::decode() {
  const bool found = file_.next(*frame_, end_s(), [this](const AVPacket& packet) {
    const std::optional<double> packet_end_s = file_.end_s(packet);
    if (packet.stream_index == file_.stream()->index && packet_end_s) {
      packets_end_s_ = std::max(packets_end_s_, *packet_end_s - origin_s_.value_or(0));
    }
  });
  if (found && frame_->decode_error_flags != 0) file_.note_broken_frame(end_s());
  return found;
}

std::int64_t AudioReader::output_end() const {
  return given_ + static_cast<std::int64_t>(ready_.size()) + silence_;
}

double AudioReader::end_s() const {
  if (!in_stretch_) return static_cast<double>(output_end()) / kSampleRate;
  return stretch_start_s_ + static_cast<double>(stretch_samples_) / resampler_.rate();
}

/// Gives frame_ to the resampler, where its time has come.
void AudioReader::place_frame() {
  const AVFrame& frame = *frame_;
  const bool after_silence = std::exchange(frame_waits_, false);
  if (in_stretch_ && frame.sample_rate != resampler_.rate()) end_stretch();
  int skipped = 0;
  if (frame.best_effort_timestamp != AV_NOPTS_VALUE && !after_silence) {
    const double stamp_s =
        static_cast<double>(frame.best_effort_timestamp) * av_q2d(file_.stream()->time_base);
    if (!origin_s_) origin_s_ = stamp_s - end_s();
    const std::optional<int> skip = samples_to_skip(stamp_s - *origin_s_ + jump_s_);
    if (!skip) {
      frame_waits_ = true;
      return;
    }
    skipped = *skip;
  }
  // Streams cut mid-broadcast may begin without timestamps; count samples until the first one arrives.
  if (skipped >= frame.nb_samples) return;
  if (!in_stretch_) begin_stretch(frame.sample_rate);
  mono_.clear();
  not_finite_ += mix_to_mono(frame, skipped, mono_);
  stretch_samples_ += static_cast<std::int64_t>(mono_.size());
  resampler_.add(mono_, ready_);
}

/// How many samples of frame_, which is at `time_s`, are there already; none where silence comes first, which
/// is then in place.
std::optional<int> AudioReader::samples_to_skip(double time_s) {
  double ahead_s = time_s - end_s();
  if (is_new_clock(time_s, ahead_s)) {
    jump_s_ -= ahead_s;
    ahead_s = 0;
    overlapped_s_ = 0;
  }
  // Where a stretch begins there is nothing to be smooth with.
  if (in_stretch_ && std::abs(ahead_s) < kJumpS) {
    if (std::abs(ahead_s) <= kRoundingS || (!deviations_s_.empty() && ahead_s * deviations_s_.back() < 0)) {
      deviations_s_.clear();
    }
    if (std::abs(ahead_s) > kRoundingS) deviations_s_.push_back(ahead_s);
    if (deviations_s_.size() < kLastingFrames) return 0;
    ahead_s = *std::min_element(deviations_s_.begin(), deviations_s_.end(),
                                [](double a, double b) { return std::abs(a) < std::abs(b); });
  }
  deviations_s_.clear();
  if (ahead_s > 0) {
    const double begin_s = end_s() + ahead_s;
    if (in_stretch_) end_stretch();
    const auto begin = static_cast<std::int64_t>(std::llround(begin_s * kSampleRate));
    const std::int64_t gap = std::max<std::int64_t>(begin - output_end(), 0);
    overlapped_s_ = 0;
    if (gap == 0) return 0;
    silence_ += gap;
    added_silence_s_ += static_cast<double>(gap) / kSampleRate;
    return std::nullopt;
  }
  const auto skip =
      static_cast<int>(std::llround(std::min(-ahead_s, 2 * kLongestOverlapS) * frame_->sample_rate));
  if (skip < frame_->nb_samples) {
    overlapped_s_ = 0;
  } else {
    overlapped_s_ += static_cast<double>(frame_->nb_samples) / frame_->sample_rate;
  }
  return skip;
}

bool AudioReader::is_new_clock(double time_s, double ahead_s) const {
  if (ahead_s < -kLongestOverlapS || overlapped_s_ > kLongestOverlapS) return true;
  if (added_silence_s_ + ahead_s > kMostSilenceS) return true;
  if (ahead_s <= libav::kLongestPauseS) return false;
  if (file_.clock_may_jump() && output_end() > 0) return true;
  const bool declared = length_s() && file_.format().duration_estimation_method == AVFMT_DURATION_FROM_STREAM;
  return declared && time_s > *length_s() + libav::kLongestPauseS;
}

void AudioReader::begin_stretch(int rate) {
  resampler_.begin(rate);
  in_stretch_ = true;
  stretch_start_s_ = static_cast<double>(output_end()) / kSampleRate;
  stretch_samples_ = 0;
}

void AudioReader::end_stretch() {
  if (!in_stretch_) return;
  resampler_.finish(ready_);
  in_stretch_ = false;
}

std::optional<double> AudioReader::declared_end_s() const {
  const AVFormatContext& format = file_.format();
  const AVStream& track = *file_.stream();
  if (format.duration_estimation_method != AVFMT_DURATION_FROM_STREAM || jump_s_ != 0) return std::nullopt;
  if (track.duration != AV_NOPTS_VALUE && track.duration > 0) {
    const std::int64_t start = track.start_time != AV_NOPTS_VALUE ? track.start_time : 0;
    return static_cast<double>(start + track.duration) * av_q2d(track.time_base) - origin_s_.value_or(0);
  }
  if (format.nb_streams == 1) return length_s();
  return std::nullopt;
}

std::vector<ItemError> AudioReader::take_problems() {
  std::vector<ItemError> problems;
  if (!has_track()) return problems;
  std::optional<double> cut_s;
  if (lacks_memory_ && !file_.damage().lacked_memory())
    problems.emplace_back(kMemoryLimit, "needs more memory than there is");
  if (at_end_ && file_.seen_frame() && !std::exchange(end_reported_, true)) {
    std::string why;
    const std::optional<double> declared_s = declared_end_s();
    // Headers round, and count samples that are never heard.
    const double tolerance_s = std::max(std::min(1.0, declared_s.value_or(0) / 10), 0.1);
    const std::int64_t missing_bytes = missing_riff_bytes(*file_.format().pb);
    if (file_.read_error() != 0) {
      why = file_.read_error_text();
    } else if (missing_bytes > 1) {  // one may be padding that was never written
      why = std::to_string(missing_bytes) + " bytes are missing";
    } else if (declared_s && std::max(packets_end_s_, end_s()) < *declared_s - tolerance_s) {
      why = "the file states " + libav::time_text(*declared_s);
    }
    if (!why.empty()) {
      cut_s = end_s();
      problems.emplace_back(libav::error_code(file_.read_error(), "audio.truncated"),
                            "the sound ends at " + libav::time_text(*cut_s) + ": " + why);
    }
  }
  file_.damage().report("audio.corrupt", "packet", "packets", cut_s, problems);
  if (not_finite_ > 0) {
    problems.emplace_back("audio.corrupt", std::to_string(not_finite_) +
                                               (not_finite_ == 1 ? " sample is" : " samples are") +
                                               " not a number and taken for silence");
  }
  file_.forget_damage();
  not_finite_ = 0;
  return problems;
}

}  // namespace reelfolio::stages
