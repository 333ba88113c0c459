#include <algorithm>
#include <csetjmp>
#include <cstddef>
#include <cstdio>
#include <utility>
#include <vector>

#include "stages/error.h"
#include "stages/image/orientation.h"
#include "stages/image/picture_reader.h"

extern "C" {
#include <jerror.h>
#include <jpeglib.h>
}

namespace reelfolio::stages {
namespace {

/// A progressive file may repeat scans without end, each a pass over the whole picture.
constexpr int kMaxScans = 200;

/// libjpeg reports errors by a function that must not return. It jumps back to
/// `guarded`; the frames jumped over hold nothing with a destructor.
class JpegReader final : public PictureReader {
 public:
  JpegReader(std::unique_ptr<ByteSource> source, std::uint64_t max_pixels)
      : source_(std::move(source)), max_pixels_(max_pixels) {
    jpeg_.err = jpeg_std_error(&errors_);
    errors_.error_exit = [](j_common_ptr jpeg) {
      jpeg->err->format_message(jpeg, self(jpeg).message_);
      std::longjmp(self(jpeg).jump_, 1);
    };
    errors_.emit_message = emit_message;
    errors_.output_message = [](j_common_ptr) {};
    jpeg_.client_data = this;
    if (!guarded([](JpegReader& r) { jpeg_create_decompress(&r.jpeg_); })) fail();
    input_.init_source = [](j_decompress_ptr) {};
    input_.fill_input_buffer = fill;
    input_.skip_input_data = skip;
    input_.resync_to_restart = jpeg_resync_to_restart;
    input_.term_source = [](j_decompress_ptr) {};
    jpeg_.src = &input_;
    progress_.progress_monitor = [](j_common_ptr jpeg) {
      if (self(jpeg).jpeg_.input_scan_number > kMaxScans) {
        std::snprintf(self(jpeg).message_, JMSG_LENGTH_MAX, "more than %d scans", kMaxScans);
        std::longjmp(self(jpeg).jump_, 1);
      }
    };
    jpeg_.progress = &progress_;
  }
  ~JpegReader() override { jpeg_destroy_decompress(&jpeg_); }

  engine::RgbImage read(int) override {
    jpeg_abort_decompress(&jpeg_);
    source_->seek(0);
    input_.bytes_in_buffer = 0;
    lost_data_ = false;
    if (!guarded([](JpegReader& r) {
          jpeg_save_markers(&r.jpeg_, JPEG_APP0 + 1, 0xFFFF);
          jpeg_read_header(&r.jpeg_, TRUE);
        })) {
      fail();
    }
    check_size(jpeg_.image_width, jpeg_.image_height, max_pixels_);
    const int components = choose_output();
    if (!guarded([](JpegReader& r) { jpeg_start_decompress(&r.jpeg_); })) fail();
    // All scans of such a file are read by now; without its end marker some are missing.
    if (jpeg_has_multiple_scans(&jpeg_) != 0 && source_->hit_end()) fail();

    engine::RgbImage image;
    UprightRows rows(image, static_cast<int>(jpeg_.output_width), static_cast<int>(jpeg_.output_height),
                     orientation());
    const int width = static_cast<int>(jpeg_.output_width);
    scanline_.resize(static_cast<std::size_t>(width) * components);
    rgb_.resize(static_cast<std::size_t>(width) * 3);
    while (jpeg_.output_scanline < jpeg_.output_height) {
      const int y = static_cast<int>(jpeg_.output_scanline);
      if (!guarded([](JpegReader& r) {
            JSAMPROW row = r.scanline_.data();
            jpeg_read_scanlines(&r.jpeg_, &row, 1);
          })) {
        fail();
      }
      if (lost_data_) fail();
      rows.write(y, rgb_row(components, width));
    }
    return image;
  }

 private:
  static JpegReader& self(j_common_ptr jpeg) { return *static_cast<JpegReader*>(jpeg->client_data); }
  static JpegReader& self(j_decompress_ptr jpeg) { return *static_cast<JpegReader*>(jpeg->client_data); }

  bool guarded(void (*step)(JpegReader&)) {
    if (setjmp(jump_) != 0) return false;
    step(*this);
    return true;
  }

  [[noreturn]] void fail() const { throw_decode_error(*source_, message_); }

  /// Many files carry harmless oddities; these warnings mean that pixels are made up.
  static void emit_message(j_common_ptr jpeg, int level) {
    if (level >= 0) return;
    switch (jpeg->err->msg_code) {
      case JWRN_HIT_MARKER:
      case JWRN_HUFF_BAD_CODE:
      case JWRN_MUST_RESYNC:
      case JWRN_JPEG_EOF:
        if (!self(jpeg).lost_data_) jpeg->err->format_message(jpeg, self(jpeg).message_);
        self(jpeg).lost_data_ = true;
        break;
      default:
        break;
    }
  }

  /// At the end of the file an end marker is made up: a picture of one scan that lacks
  /// nothing else is whole, and libjpeg tells (JWRN_HIT_MARKER) when it is not.
  static boolean fill(j_decompress_ptr jpeg) {
    static constexpr JOCTET kEnd[] = {0xFF, JPEG_EOI};
    JpegReader& reader = self(jpeg);
    // Asking for no more than there is keeps `hit_end` for data that is really missing.
    const std::uint64_t size = reader.source_->size();
    const std::uint64_t position = reader.source_->position();
    const std::uint64_t left = position < size ? size - position : 1;
    const std::size_t got = reader.source_->read(
        reader.buffer_, static_cast<std::size_t>(std::min<std::uint64_t>(left, sizeof(reader.buffer_))));
    reader.input_.next_input_byte = got > 0 ? reader.buffer_ : kEnd;
    reader.input_.bytes_in_buffer = got > 0 ? got : sizeof(kEnd);
    return TRUE;
  }

  static void skip(j_decompress_ptr jpeg, long count) {
    JpegReader& reader = self(jpeg);
    if (count <= 0) return;
    const auto wanted = static_cast<std::size_t>(count);
    if (wanted <= reader.input_.bytes_in_buffer) {
      reader.input_.next_input_byte += wanted;
      reader.input_.bytes_in_buffer -= wanted;
      return;
    }
    reader.source_->seek(reader.source_->position() + (wanted - reader.input_.bytes_in_buffer));
    reader.input_.bytes_in_buffer = 0;
  }

  /// Components of a decoded pixel: 1 (grey), 3 (RGB) or 4 (CMYK).
  int choose_output() {
    switch (jpeg_.jpeg_color_space) {
      case JCS_GRAYSCALE:
        jpeg_.out_color_space = JCS_GRAYSCALE;
        return 1;
      case JCS_CMYK:
      case JCS_YCCK:
        jpeg_.out_color_space = JCS_CMYK;
        return 4;
      case JCS_RGB:
      case JCS_YCbCr:
        jpeg_.out_color_space = JCS_RGB;
        return 3;
      default:
        throw ItemError("image.unsupported", "JPEG has " + std::to_string(jpeg_.num_components) +
                                                 " components of unknown meaning");
    }
  }

  int orientation() const {
    for (jpeg_saved_marker_ptr marker = jpeg_.marker_list; marker != nullptr; marker = marker->next) {
      const std::span<const std::uint8_t> data(marker->data, marker->data_length);
      // APP1 holds XMP as well, which exif_orientation would not take for EXIF.
      if (data.size() > 6 && data[0] == 'E' && data[1] == 'x') return exif_orientation(data);
    }
    return 1;
  }

  const std::uint8_t* rgb_row(int components, int width) {
    if (components == 3) return scanline_.data();
    if (components == 1) {
      for (int x = 0; x < width; ++x) {
        for (int c = 0; c < 3; ++c) rgb_[static_cast<std::size_t>(x) * 3 + c] = scanline_[x];
      }
    } else {
      // Adobe writes 255 for no ink and everyone else has followed, with or without
      // Adobe's marker, so the stored value is the amount of light.
      for (std::uint8_t& value : scanline_) value = static_cast<std::uint8_t>(255 - value);
      cmyk_to_rgb(scanline_.data(), width, rgb_.data());
    }
    return rgb_.data();
  }

  std::unique_ptr<ByteSource> source_;
  std::uint64_t max_pixels_;
  std::jmp_buf jump_{};
  char message_[JMSG_LENGTH_MAX] = "";
  bool lost_data_ = false;
  jpeg_error_mgr errors_{};
  jpeg_source_mgr input_{};
  jpeg_progress_mgr progress_{};
  jpeg_decompress_struct jpeg_{};
  JOCTET buffer_[16384]{};
  std::vector<std::uint8_t> scanline_;
  std::vector<std::uint8_t> rgb_;
};

}  // namespace

std::unique_ptr<PictureReader> open_jpeg(std::unique_ptr<ByteSource> source, std::uint64_t max_pixels) {
  return std::make_unique<JpegReader>(std::move(source), max_pixels);
}

}  // namespace reelfolio::stages
