#include "tests/support/video_maker.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "stages/video/libav.h"

extern "C" {
#include <libavutil/display.h>
#include <libavutil/opt.h>
}

namespace reelfolio::test {
namespace {

using namespace reelfolio::stages;

int check(int status, const char* what) {
  if (status < 0)
    throw std::runtime_error(std::string("make_video: ") + what + ": " + libav::error_text(status));
  return status;
}

void set_rotation(AVStream& stream, int degrees) {
  constexpr std::size_t kBytes = 9 * sizeof(std::int32_t);
#if LIBAVFORMAT_VERSION_MAJOR >= 61
  AVPacketSideData* side =
      av_packet_side_data_new(&stream.codecpar->coded_side_data, &stream.codecpar->nb_coded_side_data,
                              AV_PKT_DATA_DISPLAYMATRIX, kBytes, 0);
  std::uint8_t* data = side->data;
#else
  std::uint8_t* data = av_stream_new_side_data(&stream, AV_PKT_DATA_DISPLAYMATRIX, kBytes);
#endif
  av_display_rotation_set(reinterpret_cast<std::int32_t*>(data), degrees);
}

struct OutputDeleter {
  void operator()(AVFormatContext* p) const {
    avio_closep(&p->pb);
    avformat_free_context(p);
  }
};

}  // namespace

void make_video(const std::filesystem::path& path, const VideoSpec& spec, int count,
                const std::function<void(AVFrame&, int)>& paint) {
  libav::silence_log();
  AVFormatContext* raw = nullptr;
  check(avformat_alloc_output_context2(&raw, nullptr, spec.container.c_str(), path.c_str()), "container");
  const std::unique_ptr<AVFormatContext, OutputDeleter> out(raw);
  const AVCodec* encoder = avcodec_find_encoder_by_name(spec.codec.c_str());
  if (encoder == nullptr) throw std::runtime_error("make_video: no encoder " + spec.codec);
  const libav::CodecPtr codec(avcodec_alloc_context3(encoder));
  codec->width = spec.width;
  codec->height = spec.height;
  codec->pix_fmt = spec.format;
  codec->time_base = spec.time_ms ? AVRational{1, 1000} : AVRational{1, spec.fps};
  codec->framerate = {spec.fps, 1};
  codec->max_b_frames = spec.b_frames;
  codec->gop_size = 10;
  codec->bit_rate = 4'000'000;
  codec->thread_count = 1;
  codec->sample_aspect_ratio = spec.pixel_aspect;
  codec->color_trc = spec.transfer;
  codec->color_primaries = spec.primaries;
  codec->colorspace = spec.matrix;
  codec->color_range = spec.range;
  if (spec.interlaced) {
    codec->flags |= AV_CODEC_FLAG_INTERLACED_DCT;
    codec->field_order = AV_FIELD_TT;
  }
  if ((out->oformat->flags & AVFMT_GLOBALHEADER) != 0) codec->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
  check(avcodec_open2(codec.get(), encoder, nullptr), "encoder");

  AVStream* stream = avformat_new_stream(out.get(), nullptr);
  stream->time_base = codec->time_base;
  stream->avg_frame_rate = codec->framerate;
  stream->sample_aspect_ratio = spec.pixel_aspect;
  check(avcodec_parameters_from_context(stream->codecpar, codec.get()), "parameters");
  if (spec.rotation != 0) set_rotation(*stream, spec.rotation);
  check(avio_open(&out->pb, path.c_str(), AVIO_FLAG_WRITE), "open");
  check(avformat_write_header(out.get(), nullptr), "header");

  const libav::PacketPtr packet = libav::make_packet();
  const auto drain = [&] {
    while (avcodec_receive_packet(codec.get(), packet.get()) >= 0) {
      av_packet_rescale_ts(packet.get(), codec->time_base, stream->time_base);
      packet->stream_index = 0;
      check(av_interleaved_write_frame(out.get(), packet.get()), "write");
    }
  };
  for (int i = 0; i < count; ++i) {
    const libav::FramePtr frame = libav::make_frame();
    frame->format = spec.format;
    frame->width = spec.width;
    frame->height = spec.height;
    frame->color_trc = spec.transfer;
    frame->color_primaries = spec.primaries;
    frame->colorspace = spec.matrix;
    frame->color_range = spec.range;
    if (spec.interlaced) {
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(58, 7, 100)
      frame->flags |= AV_FRAME_FLAG_INTERLACED | AV_FRAME_FLAG_TOP_FIELD_FIRST;
#else
      frame->interlaced_frame = 1;
      frame->top_field_first = 1;
#endif
    }
    check(av_frame_get_buffer(frame.get(), 0), "frame");
    paint(*frame, i);
    frame->pts = spec.time_ms ? spec.time_ms(i) : i;
    check(avcodec_send_frame(codec.get(), frame.get()), "encode");
    drain();
  }
  check(avcodec_send_frame(codec.get(), nullptr), "flush");
  drain();
  check(av_write_trailer(out.get()), "trailer");
}

void fill(AVFrame& frame, int x0, int x1, int y, int u, int v) {
  const AVPixFmtDescriptor& format = *av_pix_fmt_desc_get(static_cast<AVPixelFormat>(frame.format));
  const int codes[] = {y, u, v};
  for (int c = 0; c < 3; ++c) {
    const int shift_x = c == 0 ? 0 : format.log2_chroma_w;
    const int shift_y = c == 0 ? 0 : format.log2_chroma_h;
    for (int row = 0; row < AV_CEIL_RSHIFT(frame.height, shift_y); ++row) {
      std::uint8_t* line = frame.data[c] + static_cast<std::ptrdiff_t>(row) * frame.linesize[c];
      for (int x = x0 >> shift_x; x < AV_CEIL_RSHIFT(x1, shift_x); ++x) {
        if (format.comp[c].depth > 8) {
          line[2 * x] = static_cast<std::uint8_t>(codes[c] & 0xff);
          line[2 * x + 1] = static_cast<std::uint8_t>(codes[c] >> 8);
        } else {
          line[x] = static_cast<std::uint8_t>(codes[c]);
        }
      }
    }
  }
}

void fill(AVFrame& frame, int y, int u, int v) {
  fill(frame, 0, frame.width, y, u, v);
}

void stripes(AVFrame& frame, int phase) {
  fill(frame, 16, 128, 128);
  for (int x = phase % 16 - 16; x < frame.width; x += 16) {
    fill(frame, std::max(x, 0), std::clamp(x + 8, 0, frame.width), 235, 128, 128);
  }
}

TempFile::TempFile(const std::string& suffix) {
  static std::atomic<int> count{0};
  path_ = std::filesystem::temp_directory_path() /
          ("reelfolio-test-" + std::to_string(::getpid()) + "-" + std::to_string(count++) + suffix);
}

TempFile::~TempFile() {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
}

void TempFile::write(const std::string& bytes) const {
  std::ofstream(path_, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::string TempFile::read() const {
  std::ifstream file(path_, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace reelfolio::test
