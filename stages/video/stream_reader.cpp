#include "stages/video/stream_reader.h"

#include <algorithm>
#include <utility>

extern "C" {
#include <libavutil/imgutils.h>
#include <libavutil/mem.h>
}

#include "stages/error.h"

namespace reelfolio::stages {
namespace {

/// A decoder that is being emptied and only ever reports errors has to be left at some time.
constexpr int kMaxDrainErrors = 1000;

bool holds_anything(const AVFrame& frame) {
  const bool picture = frame.width > 0 && frame.height > 0;
  return picture || (frame.nb_samples > 0 && frame.sample_rate > 0 && frame.ch_layout.nb_channels > 0);
}

}  // namespace

StreamReader::StreamReader(const std::filesystem::path& path, StreamReaderOptions options) {
  libav::silence_log();
  libav::forget_messages();
  input_ = std::make_unique<libav::FileInput>(path, std::move(options.interrupted));
  int status = 0;
  format_ = libav::open_format(*input_, status);
  if (input_->interrupted()) throw Interrupted{};
  if (status < 0) {
    throw ItemError(libav::error_code(status, options.unreadable),
                    std::string("cannot open as a ") + options.what + ": " + libav::error_text(status));
  }
  stream_ = options.choose(*format_);
  if (stream_ == nullptr) return;
  packet_ = libav::make_packet();
  codec_ = libav::open_decoder(*stream_, options.unsupported, options.configure);
}

std::optional<double> StreamReader::length_s() const {
  if (format_->duration == AV_NOPTS_VALUE || format_->duration <= 0) return std::nullopt;
  return static_cast<double>(format_->duration) / AV_TIME_BASE;
}

std::optional<double> StreamReader::origin_s() const {
  if (format_->start_time == AV_NOPTS_VALUE) return std::nullopt;
  return static_cast<double>(format_->start_time) / AV_TIME_BASE;
}

std::optional<double> StreamReader::end_s(const AVPacket& packet) const {
  const std::int64_t stamp = packet.pts != AV_NOPTS_VALUE ? packet.pts : packet.dts;
  if (stamp == AV_NOPTS_VALUE) return std::nullopt;
  return static_cast<double>(stamp + std::max<std::int64_t>(packet.duration, 0)) *
         av_q2d(format_->streams[packet.stream_index]->time_base);
}

void StreamReader::feed(double position_s, const PacketRead& packet_read) {
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
    packet_read(*packet_);
    const bool is_ours = packet_->stream_index == stream_->index;
    const int sent = is_ours ? avcodec_send_packet(codec_.get(), packet_.get()) : 0;
    av_packet_unref(packet_.get());
    if (sent < 0) note_damage(sent, position_s);
    if (is_ours) return;
  }
}

bool StreamReader::next(AVFrame& frame, double position_s, const PacketRead& packet_read) {
  int errors = 0;  // since the last packet
  while (true) {
    if (input_->interrupted()) throw Interrupted{};
    const int status = avcodec_receive_frame(codec_.get(), &frame);
    if (status >= 0) {
      if (!holds_anything(frame)) continue;
      ++frames_;
      return true;
    }
    if (status == AVERROR_EOF) return false;
    if (status != AVERROR(EAGAIN)) {
      note_damage(status, position_s);
      if (++errors > kMaxDrainErrors) return false;
      continue;
    }
    if (input_ended_) return false;
    feed(position_s, packet_read);
    if (!input_ended_) errors = 0;
  }
}

bool StreamReader::seek(std::int64_t timestamp) {
  if (avformat_seek_file(format_.get(), stream_->index, INT64_MIN, timestamp, timestamp, 0) < 0) return false;
  avcodec_flush_buffers(codec_.get());
  input_ended_ = false;
  return true;
}

void StreamReader::note_damage(int code, double position_s) {
  // A broadcast that is joined halfway begins with packets that cannot be decoded; that is no damage.
  if (seen_frame() || code == AVERROR(ENOMEM)) damage_.add(code, position_s);
}

void StreamReader::note_broken_frame(double time_s) {
  // Nor is what the first frame of such a broadcast lacks.
  if (frames_ > 1) damage_.add(AVERROR_INVALIDDATA, time_s);
}

bool StreamReader::lacks_memory() const {
  if (read_error_ == AVERROR(ENOMEM) || damage_.lacked_memory()) return true;
  return !has_room_for_frame() || (!seen_frame() && !has_room_for_packets());
}

/// Of sound, frames are small.
bool StreamReader::has_room_for_frame() const {
  const AVCodecParameters& parameters = *stream_->codecpar;
  if (parameters.codec_type != AVMEDIA_TYPE_VIDEO) return true;
  const int bytes = av_image_get_buffer_size(static_cast<AVPixelFormat>(parameters.format), parameters.width,
                                             parameters.height, 1);
  if (bytes <= 0) return true;
  void* memory = av_malloc(static_cast<std::size_t>(bytes));
  av_free(memory);
  return memory != nullptr;
}

/// Looking for streams, open_format takes any error for the end of the file, and the packet that there was no
/// memory for is passed over. Who reads without that look is told.
bool StreamReader::has_room_for_packets() const {
  avio_seek(input_->context(), 0, SEEK_SET);
  int status = 0;
  const libav::FormatPtr format = libav::open_container(*input_, status);
  const libav::PacketPtr packet = libav::make_packet();
  for (std::int64_t bytes = 0; status >= 0 && bytes <= format->probesize;) {
    status = av_read_frame(format.get(), packet.get());
    if (status == AVERROR(EAGAIN)) status = 0;
    bytes += packet->size;
    av_packet_unref(packet.get());
  }
  return status != AVERROR(ENOMEM);
}

}  // namespace reelfolio::stages
