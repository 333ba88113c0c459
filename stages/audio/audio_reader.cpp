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
/// largest sizes stand for "not known" in files that were written to a pipe. Leaves `io` at its start.
std::int64_t missing_riff_bytes(AVIOContext& io) {
  constexpr std::int64_t kNotKnown = 0x7FFFF000;
  std::array<unsigned char, 8> head{};
  const bool whole =
      avio_read(&io, head.data(), static_cast<int>(head.size())) == static_cast<int>(head.size());
  const bool is_riff = whole && std::equal(head.begin(), head.begin() + 4, "RIFF");
  const std::int64_t stated =
      8 + (head[4] | std::int64_t{head[5]} << 8 | std::int64_t{head[6]} << 16 | std::int64_t{head[7]} << 24);
  avio_seek(&io, 0, SEEK_SET);
  if (!is_riff || stated >= kNotKnown) return 0;
  return std::max<std::int64_t>(stated - avio_size(&io), 0);
}

}  // namespace

AudioReader::AudioReader(const std::filesystem::path& path, AudioReaderOptions options)
    : path_(path), options_(std::move(options)) {
  libav::silence_log();
  open();
}

void AudioReader::open() {
  libav::forget_messages();
  input_ = std::make_unique<libav::FileInput>(path_, options_.interrupted);
  missing_bytes_ = missing_riff_bytes(*input_->context());
  int status = 0;
  format_ = libav::open_format(*input_, status);
  if (input_->interrupted()) throw Interrupted{};
  if (status < 0) {
    throw ItemError(libav::error_code(status, "audio.unreadable"),
                    "cannot open as a sound or video: " + libav::error_text(status));
  }
  stream_ = choose_track(*format_, options_.track);
  if (stream_ == nullptr) {
    at_end_ = true;
    return;
  }
  for (unsigned i = 0; i < format_->nb_streams; ++i) {
    if (format_->streams[i] != stream_) format_->streams[i]->discard = AVDISCARD_ALL;
  }
  packet_ = libav::make_packet();
  frame_ = libav::make_frame();
  codec_ = libav::open_decoder(*stream_, "audio.unsupported", [](AVCodecContext& codec) {
    codec.thread_count = 1;
    codec.max_samples = kMostFrameSamples;
  });
  jumps_allowed_ = (format_->iformat->flags & AVFMT_TS_DISCONT) != 0;
  if (format_->start_time != AV_NOPTS_VALUE) {
    origin_s_ = static_cast<double>(format_->start_time) / AV_TIME_BASE;
  }
}

std::optional<double> AudioReader::length_s() const {
  if (format_->duration == AV_NOPTS_VALUE || format_->duration <= 0) return std::nullopt;
  return static_cast<double>(format_->duration) / AV_TIME_BASE;
}

bool AudioReader::next(std::vector<float>& samples) {
  while (true) {
    samples.clear();
    if (!ready_.empty()) {
      samples.swap(ready_);
    } else if (silence_ > 0) {
      if (input_->interrupted()) throw Interrupted{};
      samples.assign(static_cast<std::size_t>(std::min(silence_, kSilenceAtOnce)), 0.0F);
      silence_ -= static_cast<std::int64_t>(samples.size());
    } else if (at_end_) {
      return false;
    } else if (frame_waits_ || decode()) {
      place_frame();
    } else {
      end_stretch();
      at_end_ = true;
    }
    if (!samples.empty()) {
      given_ += static_cast<std::int64_t>(samples.size());
      return true;
    }
  }
}

void AudioReader::feed() {
  while (true) {
    const int status = av_read_frame(format_.get(), packet_.get());
    if (status == AVERROR(EAGAIN)) continue;
    if (status < 0) {
      if (input_->interrupted()) throw Interrupted{};
      if (status != AVERROR_EOF) {
        read_error_ = status;
        read_error_text_ = libav::error_text(status);
      }
      input_ended_ = true;
      avcodec_send_packet(codec_.get(), nullptr);
      return;
    }
    if (packet_->stream_index != stream_->index) {
      av_packet_unref(packet_.get());
      continue;
    }
    const std::int64_t stamp = packet_->pts != AV_NOPTS_VALUE ? packet_->pts : packet_->dts;
    if (stamp != AV_NOPTS_VALUE) {
      const double end_s = static_cast<double>(stamp + std::max<std::int64_t>(packet_->duration, 0)) *
                           av_q2d(stream_->time_base);
      packets_end_s_ = std::max(packets_end_s_, end_s - origin_s_.value_or(0));
    }
    const int sent = avcodec_send_packet(codec_.get(), packet_.get());
    av_packet_unref(packet_.get());
    if (sent < 0) note_damage(sent);
    return;
  }
}

bool AudioReader::decode() {
  int errors = 0;  // since the last packet
  while (true) {
    if (input_->interrupted()) throw Interrupted{};
    const int status = avcodec_receive_frame(codec_.get(), frame_.get());
    if (status >= 0) {
      if (frame_->nb_samples <= 0 || frame_->sample_rate <= 0 || frame_->ch_layout.nb_channels <= 0) continue;
      if (frame_->decode_error_flags != 0) note_damage(AVERROR_INVALIDDATA);
      seen_frame_ = true;
      return true;
    }
    if (status == AVERROR_EOF) return false;
    if (status != AVERROR(EAGAIN)) {
      note_damage(status);
      if (++errors > libav::kMaxDrainErrors) return false;
      continue;
    }
    if (input_ended_) return false;
    feed();
    if (!input_ended_) errors = 0;
  }
}

void AudioReader::note_damage(int code) {
  // A broadcast that is joined halfway begins with packets that cannot be decoded; that is no damage.
  if (seen_frame_ || code == AVERROR(ENOMEM)) damage_.add(code, end_s());
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
    const double stamp_s = static_cast<double>(frame.best_effort_timestamp) * av_q2d(stream_->time_base);
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
  if (jumps_allowed_ && seen_frame_ && output_end() > 0) return true;
  const bool declared = length_s() && format_->duration_estimation_method == AVFMT_DURATION_FROM_STREAM;
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
  if (format_->duration_estimation_method != AVFMT_DURATION_FROM_STREAM || jump_s_ != 0) return std::nullopt;
  if (stream_->duration != AV_NOPTS_VALUE && stream_->duration > 0) {
    const std::int64_t start = stream_->start_time != AV_NOPTS_VALUE ? stream_->start_time : 0;
    return static_cast<double>(start + stream_->duration) * av_q2d(stream_->time_base) -
           origin_s_.value_or(0);
  }
  if (format_->nb_streams == 1) return length_s();
  return std::nullopt;
}

std::vector<ItemError> AudioReader::take_problems() {
  std::vector<ItemError> problems;
  if (stream_ == nullptr) return problems;
  std::optional<double> cut_s;
  if (at_end_ && !seen_frame_ && read_error_ == AVERROR(ENOMEM))
    problems.emplace_back(kMemoryLimit, read_error_text_);
  if (at_end_ && seen_frame_ && !std::exchange(end_reported_, true)) {
    std::string why;
    const std::optional<double> declared_s = declared_end_s();
    // Headers round, and count samples that are never heard.
    const double tolerance_s = std::max(std::min(1.0, declared_s.value_or(0) / 10), 0.1);
    if (read_error_ != 0) {
      why = read_error_text_;
    } else if (missing_bytes_ > 1) {  // one may be padding that was never written
      why = std::to_string(missing_bytes_) + " bytes are missing";
    } else if (declared_s && std::max(packets_end_s_, end_s()) < *declared_s - tolerance_s) {
      why = "the file states " + libav::time_text(*declared_s);
    }
    if (!why.empty()) {
      cut_s = end_s();
      problems.emplace_back(libav::error_code(read_error_, "audio.truncated"),
                            "the sound ends at " + libav::time_text(*cut_s) + ": " + why);
    }
  }
  damage_.report("audio.corrupt", "packet", "packets", cut_s, problems);
  if (not_finite_ > 0) {
    problems.emplace_back("audio.corrupt", std::to_string(not_finite_) +
                                               (not_finite_ == 1 ? " sample is" : " samples are") +
                                               " not a number and taken for silence");
  }
  damage_.reset();
  not_finite_ = 0;
  return problems;
}

}  // namespace reelfolio::stages
