#include <webp/decode.h>
#include <webp/demux.h>

#include <new>
#include <utility>
#include <vector>

#include "stages/error.h"
#include "stages/image/orientation.h"
#include "stages/image/picture_reader.h"

namespace reelfolio::stages {
namespace {

struct DemuxFreer {
  void operator()(WebPDemuxer* demuxer) const { WebPDemuxDelete(demuxer); }
};
struct AnimationFreer {
  void operator()(WebPAnimDecoder* decoder) const { WebPAnimDecoderDelete(decoder); }
};

int orientation_of(const WebPData& data) {
  const std::unique_ptr<WebPDemuxer, DemuxFreer> demuxer(WebPDemux(&data));
  WebPChunkIterator chunk;
  if (!demuxer || WebPDemuxGetChunk(demuxer.get(), "EXIF", 1, &chunk) == 0) return 1;
  const int orientation =
      exif_orientation(std::span<const std::uint8_t>(chunk.chunk.bytes, chunk.chunk.size));
  WebPDemuxReleaseChunkIterator(&chunk);
  return orientation;
}

[[noreturn]] void fail(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_NOT_ENOUGH_DATA:
    case VP8_STATUS_SUSPENDED:
      throw ItemError("image.truncated", "picture data ends early");
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      throw ItemError("image.unsupported", "WebP uses a feature that libwebp does not know");
    case VP8_STATUS_OUT_OF_MEMORY:
      throw std::bad_alloc();
    default:
      throw ItemError("image.corrupt", "picture data is damaged");
  }
}

/// The canvas after the first frame; what the frame leaves free is black.
engine::RgbImage first_of_animation(const WebPData& data) {
  WebPAnimDecoderOptions options;
  WebPAnimDecoderOptionsInit(&options);
  options.color_mode = MODE_RGBA;
  const std::unique_ptr<WebPAnimDecoder, AnimationFreer> decoder(WebPAnimDecoderNew(&data, &options));
  WebPAnimInfo info;
  if (!decoder || WebPAnimDecoderGetInfo(decoder.get(), &info) == 0) fail(VP8_STATUS_BITSTREAM_ERROR);
  std::uint8_t* canvas = nullptr;  // the decoder's own
  int time_ms = 0;
  if (WebPAnimDecoderGetNext(decoder.get(), &canvas, &time_ms) == 0) fail(VP8_STATUS_BITSTREAM_ERROR);
  engine::RgbImage image;
  image.width = static_cast<int>(info.canvas_width);
  image.height = static_cast<int>(info.canvas_height);
  const std::size_t count = std::size_t{info.canvas_width} * info.canvas_height;
  image.pixels.resize(count * 3);
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t c = 0; c < 3; ++c) image.pixels[i * 3 + c] = canvas[i * 4 + c];
  }
  return image;
}

class WebpReader final : public PictureReader {
 public:
  WebpReader(std::unique_ptr<ByteSource> source, std::uint64_t max_pixels)
      : source_(std::move(source)), max_pixels_(max_pixels) {}

  engine::RgbImage read(int) override {
    constexpr std::uint64_t kContainerBytes = 16U << 20U;  // profile, EXIF, XMP; a short animation
    const std::vector<std::uint8_t> bytes = source_->read_all(max_pixels_ * 4 + kContainerBytes);
    // libwebp decodes what is there; the container says how much there should be.
    if (bytes.size() < 12) fail(VP8_STATUS_NOT_ENOUGH_DATA);
    const std::uint64_t riff_bytes = 8 + (std::uint64_t{bytes[4]} | std::uint64_t{bytes[5]} << 8U |
                                          std::uint64_t{bytes[6]} << 16U | std::uint64_t{bytes[7]} << 24U);
    if (bytes.size() < riff_bytes) fail(VP8_STATUS_NOT_ENOUGH_DATA);

    WebPDecoderConfig config;
    if (WebPInitDecoderConfig(&config) == 0) {
      throw ItemError("image.unsupported", "libwebp has another version than the one built with");
    }
    VP8StatusCode status = WebPGetFeatures(bytes.data(), bytes.size(), &config.input);
    if (status != VP8_STATUS_OK) fail(status);
    check_size(static_cast<std::uint64_t>(config.input.width),
               static_cast<std::uint64_t>(config.input.height), max_pixels_);
    const WebPData data{bytes.data(), bytes.size()};
    engine::RgbImage image;
    if (config.input.has_animation != 0) {
      image = first_of_animation(data);
    } else {
      image.width = config.input.width;
      image.height = config.input.height;
      image.pixels.resize(static_cast<std::size_t>(image.width) * image.height * 3);
      config.output.colorspace = MODE_RGB;
      config.output.is_external_memory = 1;
      config.output.u.RGBA.rgba = image.pixels.data();
      config.output.u.RGBA.stride = image.width * 3;
      config.output.u.RGBA.size = image.pixels.size();
      status = WebPDecode(bytes.data(), bytes.size(), &config);
      if (status != VP8_STATUS_OK) fail(status);
    }
    turn_upright(image, orientation_of(data));
    return image;
  }

 private:
  std::unique_ptr<ByteSource> source_;
  std::uint64_t max_pixels_;
};

}  // namespace

std::unique_ptr<PictureReader> open_webp(std::unique_ptr<ByteSource> source, std::uint64_t max_pixels) {
  return std::make_unique<WebpReader>(std::move(source), max_pixels);
}

}  // namespace reelfolio::stages
