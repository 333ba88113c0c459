#include "tests/support/sound_maker.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numbers>
#include <stdexcept>

#include "stages/video/libav.h"

extern "C" {
#include <libavutil/channel_layout.h>
}

namespace reelfolio::test {
namespace {

using namespace reelfolio::stages;

constexpr double kChirpS = 0.05;

int check(int status, const char* what) {
  if (status < 0)
    throw std::runtime_error(std::string("make_sound_file: ") + what + ": " + libav::error_text(status));
  return status;
}

struct OutputDeleter {
  void operator()(AVFormatContext* p) const {
    avio_closep(&p->pb);
    avformat_free_context(p);
  }
};

double chirp(double time_s) {
  if (time_s < 0 || time_s >= kChirpS) return 0;
  const double cycles = 500 * time_s + (3000 - 500) / (2 * kChirpS) * time_s * time_s;
  return 0.5 * std::sin(2 * std::numbers::pi * cycles);
}

/// The sample formats of an encoder, the likeliest first.
AVSampleFormat sample_format(const std::string& codec) {
  if (codec == "pcm_s16le" || codec == "pcm_s16be" || codec == "flac" || codec == "libopus")
    return AV_SAMPLE_FMT_S16;
  if (codec == "pcm_f32le") return AV_SAMPLE_FMT_FLT;
  if (codec == "pcm_f64le") return AV_SAMPLE_FMT_DBL;
  if (codec == "pcm_u8") return AV_SAMPLE_FMT_U8;
  if (codec == "pcm_s32le") return AV_SAMPLE_FMT_S32;
  return AV_SAMPLE_FMT_FLTP;  // aac, libmp3lame, libvorbis
}

void write_sample(AVFrame& frame, int channel, int i, double value) {
  const bool planar = av_sample_fmt_is_planar(static_cast<AVSampleFormat>(frame.format)) != 0;
  const int at = planar ? i : i * frame.ch_layout.nb_channels + channel;
  std::uint8_t* data = frame.extended_data[planar ? channel : 0];
  switch (frame.format) {
    case AV_SAMPLE_FMT_U8:
      data[at] = static_cast<std::uint8_t>(std::clamp(std::lround(value * 128 + 128), 0L, 255L));
      break;
    case AV_SAMPLE_FMT_S16:
      reinterpret_cast<std::int16_t*>(data)[at] =
          static_cast<std::int16_t>(std::clamp(std::lround(value * 32768), -32768L, 32767L));
      break;
    case AV_SAMPLE_FMT_S32:
      reinterpret_cast<std::int32_t*>(data)[at] =
          static_cast<std::int32_t>(std::clamp(value * 2147483648.0, -2147483648.0, 2147483647.0));
      break;
    case AV_SAMPLE_FMT_DBL:
      reinterpret_cast<double*>(data)[at] = value;
      break;
    default:
      reinterpret_cast<float*>(data)[at] = static_cast<float>(value);
  }
}

class Track {
 public:
  Track(AVFormatContext& out, const TrackSpec& spec) : out_(out), spec_(spec) {
    const AVCodec* encoder = avcodec_find_encoder_by_name(spec.codec.c_str());
    if (encoder == nullptr) throw std::runtime_error("make_sound_file: no encoder " + spec.codec);
    codec_.reset(avcodec_alloc_context3(encoder));
    codec_->sample_rate = spec.rate;
    codec_->sample_fmt = sample_format(spec.codec);
    codec_->time_base = {1, spec.rate};
    codec_->bit_rate = 128'000;
    codec_->strict_std_compliance = FF_COMPLIANCE_EXPERIMENTAL;
    av_channel_layout_default(&codec_->ch_layout, spec.channels);
    if ((out.oformat->flags & AVFMT_GLOBALHEADER) != 0) codec_->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    check(avcodec_open2(codec_.get(), encoder, nullptr), "encoder");
    stream_ = avformat_new_stream(&out, nullptr);
    stream_->time_base = codec_->time_base;
    check(avcodec_parameters_from_context(stream_->codecpar, codec_.get()), "parameters");
    if (!spec.language.empty()) av_dict_set(&stream_->metadata, "language", spec.language.c_str(), 0);
    if (spec.is_default) stream_->disposition |= AV_DISPOSITION_DEFAULT;
  }

  void encode() {
    const int total = static_cast<int>(std::lround(spec_.seconds * spec_.rate));
    const int step = codec_->frame_size > 0 ? codec_->frame_size : 1024;
    for (int first = 0; first < total; first += step) {
      const libav::FramePtr frame = libav::make_frame();
      frame->format = codec_->sample_fmt;
      frame->sample_rate = spec_.rate;
      frame->nb_samples = std::min(step, total - first);
      check(av_channel_layout_copy(&frame->ch_layout, &codec_->ch_layout), "layout");
      check(av_frame_get_buffer(frame.get(), 0), "frame");
      for (int channel = 0; channel < spec_.channels; ++channel) {
        for (int i = 0; i < frame->nb_samples; ++i) {
          const double time_s = static_cast<double>(first + i) / spec_.rate;
          write_sample(*frame, channel, i, spec_.sound ? spec_.sound(time_s, channel) : 0);
        }
      }
      frame->pts = first + std::lround(spec_.start_s * spec_.rate);
      check(avcodec_send_frame(codec_.get(), frame.get()), "encode");
      drain();
    }
    check(avcodec_send_frame(codec_.get(), nullptr), "flush");
    drain();
  }

 private:
  void drain() {
    const libav::PacketPtr packet = libav::make_packet();
    while (avcodec_receive_packet(codec_.get(), packet.get()) >= 0) {
      const double at_s = static_cast<double>(packet->pts) / spec_.rate;
      const bool left_out = std::any_of(spec_.gaps.begin(), spec_.gaps.end(), [&](const auto& gap) {
        return at_s >= gap.first && at_s < gap.second;
      });
      if (left_out) {
        av_packet_unref(packet.get());
        continue;
      }
      if (at_s >= spec_.jump.first) {
        const auto later = static_cast<std::int64_t>(std::llround(spec_.jump.second * spec_.rate));
        packet->pts += later;
        packet->dts += later;
      }
      av_packet_rescale_ts(packet.get(), codec_->time_base, stream_->time_base);
      packet->stream_index = stream_->index;
      check(av_interleaved_write_frame(&out_, packet.get()), "write");
    }
  }

  AVFormatContext& out_;
  const TrackSpec& spec_;
  libav::CodecPtr codec_;
  AVStream* stream_;
};

class VideoTrack {
 public:
  VideoTrack(AVFormatContext& out, double seconds) : out_(out), seconds_(seconds) {
    const AVCodec* encoder = avcodec_find_encoder(AV_CODEC_ID_MPEG4);
    if (encoder == nullptr) throw std::runtime_error("make_sound_file: no encoder mpeg4");
    codec_.reset(avcodec_alloc_context3(encoder));
    codec_->width = 64;
    codec_->height = 48;
    codec_->pix_fmt = AV_PIX_FMT_YUV420P;
    codec_->time_base = {1, 25};
    if ((out.oformat->flags & AVFMT_GLOBALHEADER) != 0) codec_->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    check(avcodec_open2(codec_.get(), encoder, nullptr), "video encoder");
    stream_ = avformat_new_stream(&out, nullptr);
    stream_->time_base = codec_->time_base;
    stream_->avg_frame_rate = {25, 1};
    check(avcodec_parameters_from_context(stream_->codecpar, codec_.get()), "video parameters");
  }

  void encode() {
    const int count = static_cast<int>(std::lround(seconds_ * 25));
    for (int i = 0; i <= count; ++i) {
      if (i < count) {
        const libav::FramePtr frame = libav::make_frame();
        frame->format = codec_->pix_fmt;
        frame->width = codec_->width;
        frame->height = codec_->height;
        check(av_frame_get_buffer(frame.get(), 0), "picture");
        for (int plane = 0; plane < 3; ++plane) {
          const int rows = plane == 0 ? frame->height : frame->height / 2;
          std::fill_n(frame->data[plane], rows * frame->linesize[plane],
                      static_cast<std::uint8_t>(plane == 0 ? 90 + i % 64 : 128));
        }
        frame->pts = i;
        check(avcodec_send_frame(codec_.get(), frame.get()), "encode picture");
      } else {
        check(avcodec_send_frame(codec_.get(), nullptr), "flush pictures");
      }
      const libav::PacketPtr packet = libav::make_packet();
      while (avcodec_receive_packet(codec_.get(), packet.get()) >= 0) {
        av_packet_rescale_ts(packet.get(), codec_->time_base, stream_->time_base);
        packet->stream_index = stream_->index;
        check(av_interleaved_write_frame(&out_, packet.get()), "write picture");
      }
    }
  }

 private:
  AVFormatContext& out_;
  double seconds_;
  libav::CodecPtr codec_;
  AVStream* stream_;
};

}  // namespace

void make_sound_file(const std::filesystem::path& path, const SoundFileSpec& spec) {
  libav::silence_log();
  AVFormatContext* raw = nullptr;
  check(avformat_alloc_output_context2(&raw, nullptr, spec.container.c_str(), path.c_str()), "container");
  const std::unique_ptr<AVFormatContext, OutputDeleter> out(raw);
  std::unique_ptr<VideoTrack> video;
  if (spec.video_s > 0) video = std::make_unique<VideoTrack>(*out, spec.video_s);
  std::vector<std::unique_ptr<Track>> tracks;
  for (const TrackSpec& track : spec.tracks) tracks.push_back(std::make_unique<Track>(*out, track));
  check(avio_open(&out->pb, path.c_str(), AVIO_FLAG_WRITE), "open");
  check(avformat_write_header(out.get(), nullptr), "header");
  if (video) video->encode();
  for (const auto& track : tracks) track->encode();
  check(av_write_trailer(out.get()), "trailer");
}

std::function<double(double, int)> chirp_at(double at_s) {
  return [at_s](double time_s, int) { return chirp(time_s - at_s); };
}

double find_chirp(std::span<const float> samples) {
  constexpr int kRate = 16000;
  constexpr int kLength = static_cast<int>(kChirpS * kRate);
  std::vector<float> wanted(kLength);
  for (int i = 0; i < kLength; ++i) wanted[i] = static_cast<float>(chirp(static_cast<double>(i) / kRate));
  double best = 0;
  std::size_t place = 0;
  for (std::size_t at = 0; at + kLength <= samples.size(); ++at) {
    double sum = 0;
    for (int i = 0; i < kLength; ++i) sum += static_cast<double>(wanted[i]) * samples[at + i];
    if (sum > best) {
      best = sum;
      place = at;
    }
  }
  if (best == 0) throw std::runtime_error("find_chirp: there is none");
  return static_cast<double>(place) / kRate;
}

std::function<double(double, int)> tone(double hz, double amplitude) {
  return [=](double time_s, int) { return amplitude * std::sin(2 * std::numbers::pi * hz * time_s); };
}

}  // namespace reelfolio::test
