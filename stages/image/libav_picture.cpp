#include <new>
#include <utility>
#include <vector>

#include "stages/error.h"
#include "stages/image/gif_structure.h"
#include "stages/image/picture_reader.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavutil/log.h>
#include <libavutil/pixdesc.h>
}

/// BMP, GIF and PNM through libavcodec: its decoders take a whole file as one packet.
namespace reelfolio::stages {
namespace {

struct CodecFreer {
  void operator()(AVCodecContext* codec) const { avcodec_free_context(&codec); }
};
struct PacketFreer {
  void operator()(AVPacket* packet) const { av_packet_free(&packet); }
};
struct FrameFreer {
  void operator()(AVFrame* frame) const { av_frame_free(&frame); }
};

/// Where red, green and blue stand in a pixel of whole bytes.
struct ByteLayout {
  int pixel_bytes;
  int red, green, blue;
};

/// Null for a format without whole bytes a channel.
const ByteLayout* byte_layout(AVPixelFormat format) {
  static constexpr ByteLayout kRgb24{3, 0, 1, 2};
  static constexpr ByteLayout kBgr24{3, 2, 1, 0};
  static constexpr ByteLayout kBgra{4, 2, 1, 0};
  static constexpr ByteLayout kRgba{4, 0, 1, 2};
  static constexpr ByteLayout kGrey{1, 0, 0, 0};
  // Of 16 bits the high byte.
  static constexpr ByteLayout kGrey16Be{2, 0, 0, 0};
  static constexpr ByteLayout kGrey16Le{2, 1, 1, 1};
  static constexpr ByteLayout kRgb48Be{6, 0, 2, 4};
  static constexpr ByteLayout kRgb48Le{6, 1, 3, 5};
  switch (format) {
    case AV_PIX_FMT_RGB24:
      return &kRgb24;
    case AV_PIX_FMT_BGR24:
      return &kBgr24;
    case AV_PIX_FMT_BGRA:
    case AV_PIX_FMT_BGR0:
      return &kBgra;
    case AV_PIX_FMT_RGBA:
    case AV_PIX_FMT_RGB0:
      return &kRgba;
    case AV_PIX_FMT_GRAY8:
      return &kGrey;
    case AV_PIX_FMT_GRAY16BE:
      return &kGrey16Be;
    case AV_PIX_FMT_GRAY16LE:
      return &kGrey16Le;
    case AV_PIX_FMT_RGB48BE:
      return &kRgb48Be;
    case AV_PIX_FMT_RGB48LE:
      return &kRgb48Le;
    default:
      return nullptr;
  }
}

void store(std::uint8_t* rgb, unsigned red, unsigned green, unsigned blue) {
  rgb[0] = static_cast<std::uint8_t>(red);
  rgb[1] = static_cast<std::uint8_t>(green);
  rgb[2] = static_cast<std::uint8_t>(blue);
}

/// `bits` bits to 0..255, rounded down as Pillow does.
unsigned widen(unsigned value, unsigned bits) {
  return value * 255U / ((1U << bits) - 1U);
}

void convert_row(const AVFrame& frame, const std::uint8_t* row, int width, std::uint8_t* rgb) {
  const auto format = static_cast<AVPixelFormat>(frame.format);
  if (const ByteLayout* layout = byte_layout(format)) {
    for (int x = 0; x < width; ++x, row += layout->pixel_bytes, rgb += 3) {
      store(rgb, row[layout->red], row[layout->green], row[layout->blue]);
    }
    return;
  }
  switch (format) {
    case AV_PIX_FMT_PAL8:
      for (int x = 0; x < width; ++x, rgb += 3) {
        const std::uint32_t argb = reinterpret_cast<const std::uint32_t*>(frame.data[1])[row[x]];
        store(rgb, (argb >> 16U) & 255U, (argb >> 8U) & 255U, argb & 255U);
      }
      return;
    case AV_PIX_FMT_RGB555LE:
    case AV_PIX_FMT_RGB565LE: {
      const unsigned green_bits = format == AV_PIX_FMT_RGB565LE ? 6 : 5;
      for (int x = 0; x < width; ++x, row += 2, rgb += 3) {
        const unsigned value = row[0] | (unsigned{row[1]} << 8U);
        store(rgb, widen((value >> (5 + green_bits)) & 31U, 5),
              widen((value >> 5U) & ((1U << green_bits) - 1U), green_bits), widen(value & 31U, 5));
      }
      return;
    }
    case AV_PIX_FMT_MONOWHITE:
    case AV_PIX_FMT_MONOBLACK:
      for (int x = 0; x < width; ++x, rgb += 3) {
        const bool bit = ((row[x / 8] >> (7 - x % 8)) & 1) != 0;
        const unsigned grey = bit == (format == AV_PIX_FMT_MONOBLACK) ? 255 : 0;
        store(rgb, grey, grey, grey);
      }
      return;
    default: {
      const char* name = av_get_pix_fmt_name(format);
      throw ItemError("image.unsupported",
                      std::string("pixel format ") + (name != nullptr ? name : "?") + " cannot be read");
    }
  }
}

class LibavReader final : public PictureReader {
 public:
  LibavReader(std::unique_ptr<ByteSource> source, std::uint64_t max_pixels, AVCodecID codec)
      : source_(std::move(source)), max_pixels_(max_pixels), codec_id_(codec) {}

  engine::RgbImage read(int) override {
    if (codec_id_ == AV_CODEC_ID_GIF) {
      // The decoder shows a picture cut short as far as it goes.
      const GifStructure structure = scan_gif(*source_, 1);
      if (structure.truncated) throw ItemError("image.truncated", "picture data ends early");
      if (structure.images == 0) throw ItemError("image.corrupt", "GIF has no picture");
    }
    // Text formats take up to 12 bytes a pixel; the constant is for headers and palettes.
    constexpr std::uint64_t kHeaderBytes = 1U << 20U;
    std::vector<std::uint8_t> bytes = source_->read_all(max_pixels_ * 12 + kHeaderBytes);

    const std::unique_ptr<AVFrame, FrameFreer> frame = decode(std::move(bytes));
    engine::RgbImage image;
    image.width = frame->width;
    image.height = frame->height;
    image.pixels.resize(static_cast<std::size_t>(image.width) * image.height * 3);
    for (int y = 0; y < image.height; ++y) {
      convert_row(*frame, frame->data[0] + static_cast<std::ptrdiff_t>(y) * frame->linesize[0], image.width,
                  image.row(y));
    }
    return image;
  }

 private:
  /// A BMP says how long it is; that only names the reason once decoding has failed,
  /// because some writers count wrongly.
  static std::uint64_t stated_bytes(const std::vector<std::uint8_t>& bytes) {
    if (bytes.size() < 6 || bytes[0] != 'B') return 0;
    return bytes[2] | (std::uint64_t{bytes[3]} << 8U) | (std::uint64_t{bytes[4]} << 16U) |
           (std::uint64_t{bytes[5]} << 24U);
  }

  std::unique_ptr<AVFrame, FrameFreer> decode(std::vector<std::uint8_t> bytes) {
    av_log_set_level(AV_LOG_QUIET);
    const AVCodec* codec = avcodec_find_decoder(codec_id_);
    if (codec == nullptr) throw ItemError("image.unsupported", "this build of FFmpeg has no such decoder");
    const std::unique_ptr<AVCodecContext, CodecFreer> context(avcodec_alloc_context3(codec));
    const std::unique_ptr<AVPacket, PacketFreer> packet(av_packet_alloc());
    std::unique_ptr<AVFrame, FrameFreer> frame(av_frame_alloc());
    if (!context || !packet || !frame) throw std::bad_alloc();
    const std::size_t length = bytes.size();
    bytes.resize(length + AV_INPUT_BUFFER_PADDING_SIZE);
    packet->data = bytes.data();
    packet->size = static_cast<int>(length);
    context->opaque = this;
    context->thread_count = 1;
    context->err_recognition = AV_EF_EXPLODE;
    refused_ = false;
    allocated_ = false;
    context->get_buffer2 = [](AVCodecContext* c, AVFrame* f, int flags) {
      auto& reader = *static_cast<LibavReader*>(c->opaque);
      const std::uint64_t pixels =
          static_cast<std::uint64_t>(f->width) * static_cast<std::uint64_t>(f->height);
      if (pixels > reader.max_pixels_) {
        reader.refused_ = true;
        reader.refused_width_ = f->width;
        reader.refused_height_ = f->height;
        return AVERROR(ENOMEM);
      }
      reader.allocated_ = true;
      return avcodec_default_get_buffer2(c, f, flags);
    };
    int status = avcodec_open2(context.get(), codec, nullptr);
    if (status >= 0) status = avcodec_send_packet(context.get(), packet.get());
    if (status >= 0) status = avcodec_receive_frame(context.get(), frame.get());
    if (refused_) {
      check_size(static_cast<std::uint64_t>(refused_width_), static_cast<std::uint64_t>(refused_height_),
                 max_pixels_);
    }
    if (status == AVERROR(ENOMEM)) throw std::bad_alloc();
    if (status < 0) {
      // Binary PNM has nothing that could be wrong behind its header but the length.
      const bool short_pnm = allocated_ && length > 2 && bytes[0] == 'P' && bytes[1] >= '4';
      if (short_pnm || stated_bytes(bytes) > length)
        throw ItemError("image.truncated", "picture data ends early");
      char reason[AV_ERROR_MAX_STRING_SIZE] = "";
      av_strerror(status, reason, sizeof(reason));
      throw_decode_error(*source_, reason);
    }
    return frame;
  }

  std::unique_ptr<ByteSource> source_;
  std::uint64_t max_pixels_;
  AVCodecID codec_id_;
  bool allocated_ = false;  ///< the header made sense
  bool refused_ = false;
  int refused_width_ = 0;
  int refused_height_ = 0;
};

/// "P1" to "P6" name three decoders, plain or binary.
AVCodecID pnm_codec(ByteSource& source) {
  char magic[2] = "";
  source.seek(0);
  source.read(magic, 2);
  switch (magic[1]) {
    case '1':
    case '4':
      return AV_CODEC_ID_PBM;
    case '2':
    case '5':
      return AV_CODEC_ID_PGM;
    default:
      return AV_CODEC_ID_PPM;
  }
}

}  // namespace

std::unique_ptr<PictureReader> open_bmp(std::unique_ptr<ByteSource> source, std::uint64_t max_pixels) {
  return std::make_unique<LibavReader>(std::move(source), max_pixels, AV_CODEC_ID_BMP);
}

std::unique_ptr<PictureReader> open_gif(std::unique_ptr<ByteSource> source, std::uint64_t max_pixels) {
  return std::make_unique<LibavReader>(std::move(source), max_pixels, AV_CODEC_ID_GIF);
}

std::unique_ptr<PictureReader> open_pnm(std::unique_ptr<ByteSource> source, std::uint64_t max_pixels) {
  const AVCodecID codec = pnm_codec(*source);
  return std::make_unique<LibavReader>(std::move(source), max_pixels, codec);
}

}  // namespace reelfolio::stages
