#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <new>
#include <utility>
#include <vector>

#include "stages/error.h"
#include "stages/image/orientation.h"
#include "stages/image/picture_reader.h"

namespace reelfolio::stages {
namespace {

/// libpng reports errors by a function that must not return. It jumps back to
/// `guarded`; the frames jumped over hold nothing with a destructor.
class PngReader final : public PictureReader {
 public:
  PngReader(std::unique_ptr<ByteSource> source, std::uint64_t max_pixels)
      : source_(std::move(source)), max_pixels_(max_pixels) {}
  ~PngReader() override { close(); }

  engine::RgbImage read(int) override {
    close();
    source_->seek(0);
    png_ = png_create_read_struct(PNG_LIBPNG_VER_STRING, this, on_error, [](png_structp, png_const_charp) {});
    if (png_ != nullptr) info_ = png_create_info_struct(png_);
    if (info_ == nullptr) throw std::bad_alloc();
    if (!guarded([](PngReader& r) { r.read_header(); })) fail();
    check_size(png_get_image_width(png_, info_), png_get_image_height(png_, info_), max_pixels_);
    passes_ = 1;
    if (!guarded([](PngReader& r) { r.choose_transforms(); })) fail();
    if (png_get_rowbytes(png_, info_) != std::size_t{png_get_image_width(png_, info_)} * 3) {
      throw ItemError("image.unsupported", "PNG does not decode to 8-bit RGB");
    }

    engine::RgbImage image;
    image.width = static_cast<int>(png_get_image_width(png_, info_));
    image.height = static_cast<int>(png_get_image_height(png_, info_));
    image.pixels.resize(static_cast<std::size_t>(image.width) * image.height * 3);
    // The passes of an interlaced picture fill the rows in bit by bit, so rows are
    // decoded in place and the picture is turned afterwards; eXIf may stand at the end.
    for (int pass = 0; pass < passes_; ++pass) {
      for (int y = 0; y < image.height; ++y) {
        row_ = image.row(y);
        if (!guarded([](PngReader& r) { png_read_row(r.png_, r.row_, nullptr); })) fail();
      }
    }
    // All pixels are there: damage behind them costs at most the orientation.
    if (guarded([](PngReader& r) { png_read_end(r.png_, r.info_); })) turn_upright(image, orientation());
    close();
    return image;
  }

 private:
  static void on_error(png_structp png, png_const_charp message) {
    auto& reader = *static_cast<PngReader*>(png_get_error_ptr(png));
    std::snprintf(reader.message_, sizeof(reader.message_), "%s", message);
    std::longjmp(reader.jump_, 1);
  }

  bool guarded(void (*step)(PngReader&)) {
    if (setjmp(jump_) != 0) return false;
    step(*this);
    return true;
  }

  [[noreturn]] void fail() const { throw_decode_error(*source_, message_); }

  void close() { png_destroy_read_struct(&png_, &info_, nullptr); }

  void read_header() {
    png_set_read_fn(png_, source_.get(), [](png_structp png, png_bytep to, std::size_t size) {
      if (static_cast<ByteSource*>(png_get_io_ptr(png))->read(to, size) != size) {
        png_error(png, "unexpected end of file");
      }
    });
    // `max_pixels` is the bound; libpng's own, a million a side, would refuse long strips.
    png_set_user_limits(png_, PNG_UINT_31_MAX, PNG_UINT_31_MAX);
    // Profiles and texts are not used, and compressed ones are a way to make a small
    // file take memory and time.
    static constexpr png_byte kIgnored[] = "iCCP\0zTXt\0iTXt\0tEXt\0sPLT\0hIST\0";
    png_set_keep_unknown_chunks(png_, PNG_HANDLE_CHUNK_NEVER, kIgnored, 6);
    png_read_info(png_, info_);
  }

  void choose_transforms() {
    png_set_expand(png_);
    png_set_strip_16(png_);
    png_set_gray_to_rgb(png_);
    png_set_strip_alpha(png_);
    passes_ = png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
  }

  int orientation() const {
    png_uint_32 size = 0;
    png_bytep exif = nullptr;
    if (png_get_eXIf_1(png_, info_, &size, &exif) == 0 || exif == nullptr) return 1;
    return exif_orientation(std::span<const std::uint8_t>(exif, size));
  }

  std::unique_ptr<ByteSource> source_;
  std::uint64_t max_pixels_;
  std::jmp_buf jump_{};
  char message_[200] = "";
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  png_bytep row_ = nullptr;
  int passes_ = 1;
};

}  // namespace

std::unique_ptr<PictureReader> open_png(std::unique_ptr<ByteSource> source, std::uint64_t max_pixels) {
  return std::make_unique<PngReader>(std::move(source), max_pixels);
}

}  // namespace reelfolio::stages
