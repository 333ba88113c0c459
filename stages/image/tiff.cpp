#include <tiffio.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

#include "stages/error.h"
#include "stages/image/orientation.h"
#include "stages/image/picture_reader.h"
#include "stages/image/tiff_pixels.h"

namespace reelfolio::stages {
namespace {

/// Directories that a file may have. libtiff finds loops; this bounds the walk.
constexpr int kMaxDirectories = 65535;

struct TiffCloser {
  void operator()(TIFF* tiff) const { TIFFClose(tiff); }
};
struct OptionsFreer {
  void operator()(TIFFOpenOptions* options) const { TIFFOpenOptionsFree(options); }
};

class TiffReader final : public PictureReader {
 public:
  TiffReader(std::unique_ptr<ByteSource> source, std::uint64_t max_pixels)
      : source_(std::move(source)), max_pixels_(max_pixels) {
    const std::unique_ptr<TIFFOpenOptions, OptionsFreer> options(TIFFOpenOptionsAlloc());
    if (!options) throw std::bad_alloc();
    TIFFOpenOptionsSetErrorHandlerExtR(options.get(), on_error, this);
    TIFFOpenOptionsSetWarningHandlerExtR(
        options.get(), [](TIFF*, void*, const char*, const char*, va_list) { return 1; }, nullptr);
    // Twice the largest picture of eight 16-bit samples, and room for the directories.
    const std::uint64_t limit = max_pixels * 32 + (64U << 20U);
    TIFFOpenOptionsSetMaxSingleMemAlloc(
        options.get(), static_cast<tmsize_t>(std::min<std::uint64_t>(limit, std::uint64_t{1} << 40U)));
    // "m": no memory map, which a file that shrinks would turn into a bus error.
    tiff_.reset(TIFFClientOpenExt("TIFF", "rm", this, read_bytes, write_bytes, seek_bytes, close_bytes,
                                  size_bytes, nullptr, nullptr, options.get()));
    if (!tiff_) fail();
    list_pages();
  }

  int pages() const override { return static_cast<int>(offsets_.size()); }

  engine::RgbImage read(int page) override {
    message_.clear();
    if (TIFFSetSubDirectory(tiff_.get(), offsets_[static_cast<std::size_t>(page)]) == 0) fail();
    TIFF* const tiff = tiff_.get();
    TiffLayout layout = read_layout();
    check_size(static_cast<std::uint64_t>(layout.width), static_cast<std::uint64_t>(layout.height),
               max_pixels_);
    if (!layout.supported()) return read_by_libtiff(layout);

    engine::RgbImage image;
    std::uint16_t orientation = ORIENTATION_TOPLEFT;
    TIFFGetFieldDefaulted(tiff, TIFFTAG_ORIENTATION, &orientation);
    if (orientation < 1 || orientation > 8) orientation = 1;
    UprightRows rows(image, layout.width, layout.height, orientation);
    read_blocks(layout, rows);
    return image;
  }

 private:
  static TiffReader& self(thandle_t handle) { return *static_cast<TiffReader*>(handle); }

  static int on_error(TIFF*, void* reader, const char*, const char* format, va_list arguments) {
    std::string& message = static_cast<TiffReader*>(reader)->message_;
    char text[300] = "";
    std::vsnprintf(text, sizeof(text), format, arguments);
    if (message.empty()) message = text;  // the first one is the cause
    return 1;
  }
  static tmsize_t read_bytes(thandle_t handle, void* to, tmsize_t size) {
    if (size <= 0) return 0;
    ByteSource& source = *self(handle).source_;
    const std::size_t got = source.read(to, static_cast<std::size_t>(size));
    return source.failed() ? -1 : static_cast<tmsize_t>(got);
  }
  static tmsize_t write_bytes(thandle_t, void*, tmsize_t) { return -1; }
  static toff_t seek_bytes(thandle_t handle, toff_t offset, int whence) {
    ByteSource& source = *self(handle).source_;
    if (whence == SEEK_CUR) offset += source.position();
    if (whence == SEEK_END) offset += source.size();
    source.seek(offset);
    return offset;
  }
  static int close_bytes(thandle_t) { return 0; }
  static toff_t size_bytes(thandle_t handle) { return self(handle).source_->size(); }

  [[noreturn]] void fail() const {
    // libtiff checks some extents against the file's size without trying to read.
    throw_decode_error(*source_, message_);
  }

  /// Offsets of the directories that hold a page of their own. A damaged directory ends
  /// the list unless nothing came before it; `read` reports what lies there.
  void list_pages() {
    std::vector<toff_t> all;
    do {
      std::uint32_t type = 0;
      TIFFGetFieldDefaulted(tiff_.get(), TIFFTAG_SUBFILETYPE, &type);
      const toff_t offset = TIFFCurrentDirOffset(tiff_.get());
      all.push_back(offset);
      if ((type & (FILETYPE_REDUCEDIMAGE | FILETYPE_MASK)) == 0) offsets_.push_back(offset);
    } while (static_cast<int>(all.size()) < kMaxDirectories && TIFFReadDirectory(tiff_.get()) != 0);
    if (offsets_.empty()) offsets_ = std::move(all);
  }

  TiffLayout read_layout() {
    TIFF* const tiff = tiff_.get();
    std::uint32_t width = 0;
    std::uint32_t height = 0;
    TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &width);
    TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &height);
    check_size(width, height, max_pixels_);
    TiffLayout layout;
    layout.width = static_cast<int>(width);
    layout.height = static_cast<int>(height);
    std::uint16_t compression = COMPRESSION_NONE;
    std::uint16_t planar = PLANARCONFIG_CONTIG;
    TIFFGetFieldDefaulted(tiff, TIFFTAG_COMPRESSION, &compression);
    if (TIFFIsCODECConfigured(compression) == 0) {
      throw ItemError("image.unsupported",
                      "TIFF compression " + std::to_string(compression) + " cannot be read");
    }
    if (TIFFGetField(tiff, TIFFTAG_PHOTOMETRIC, &layout.photometric) == 0) {
      layout.photometric = PHOTOMETRIC_MINISBLACK;  // as fax software that omits it means
      if (compression == COMPRESSION_CCITTFAX3 || compression == COMPRESSION_CCITTFAX4 ||
          compression == COMPRESSION_CCITTRLE) {
        layout.photometric = PHOTOMETRIC_MINISWHITE;
      }
    }
    TIFFGetFieldDefaulted(tiff, TIFFTAG_BITSPERSAMPLE, &layout.bits);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLESPERPIXEL, &layout.samples);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_SAMPLEFORMAT, &layout.sample_format);
    TIFFGetFieldDefaulted(tiff, TIFFTAG_PLANARCONFIG, &planar);
    layout.separate = planar == PLANARCONFIG_SEPARATE && layout.samples > 1;
    if (compression == COMPRESSION_JPEG && layout.photometric == PHOTOMETRIC_YCBCR && !layout.separate) {
      TIFFSetField(tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
      layout.photometric = PHOTOMETRIC_RGB;
    }
    std::uint16_t extra_count = 0;
    std::uint16_t* extra = nullptr;
    TIFFGetFieldDefaulted(tiff, TIFFTAG_EXTRASAMPLES, &extra_count, &extra);
    layout.associated_alpha = extra_count > 0 && extra != nullptr && extra[0] == EXTRASAMPLE_ASSOCALPHA;
    if (layout.photometric == PHOTOMETRIC_PALETTE && layout.bits <= 8) {
      std::uint16_t* red = nullptr;
      std::uint16_t* green = nullptr;
      std::uint16_t* blue = nullptr;
      if (TIFFGetField(tiff, TIFFTAG_COLORMAP, &red, &green, &blue) == 0) {
        throw ItemError("image.corrupt", "palette picture has no palette");
      }
      layout.set_palette(red, green, blue);
    }
    return layout;
  }

  /// Strips or tiles, one at a time (one of each plane where planes are separate).
  void read_blocks(const TiffLayout& layout, UprightRows& rows) {
    TIFF* const tiff = tiff_.get();
    const bool tiled = TIFFIsTiled(tiff) != 0;
    std::uint32_t block_width = static_cast<std::uint32_t>(layout.width);
    std::uint32_t block_height = static_cast<std::uint32_t>(layout.height);
    if (tiled) {
      TIFFGetField(tiff, TIFFTAG_TILEWIDTH, &block_width);
      TIFFGetField(tiff, TIFFTAG_TILELENGTH, &block_height);
    } else {
      TIFFGetFieldDefaulted(tiff, TIFFTAG_ROWSPERSTRIP, &block_height);
      block_height = std::min(block_height, static_cast<std::uint32_t>(layout.height));
    }
    // A tile may exceed the picture by less than itself; more is an attack on memory.
    if (block_width == 0 || block_height == 0) throw ItemError("image.corrupt", "strips or tiles are empty");
    if (std::uint64_t{block_width} * block_height > max_pixels_ + (1U << 24U)) {
      throw ItemError("image.too_large", "TIFF tiles have " + std::to_string(block_width) + " x " +
                                             std::to_string(block_height) + " pixels");
    }
    const int planes = layout.separate ? layout.samples : 1;
    const int samples_in_plane = layout.separate ? 1 : layout.samples;
    const std::size_t row_bytes = (std::size_t{block_width} * samples_in_plane * layout.bits + 7) / 8;
    const std::size_t block_bytes = row_bytes * block_height;
    // A strip may be the whole picture, and a small file can claim a large one.
    if (block_bytes * static_cast<std::size_t>(planes) > max_pixels_ * 4 + (64U << 20U)) {
      throw ItemError("image.too_large",
                      "TIFF strips or tiles take " + std::to_string(block_bytes) + " bytes");
    }
    const tmsize_t libtiff_bytes = tiled ? TIFFTileSize(tiff) : TIFFStripSize(tiff);
    if (libtiff_bytes <= 0 || static_cast<std::size_t>(libtiff_bytes) != block_bytes) fail();

    std::vector<std::uint8_t> blocks(block_bytes * static_cast<std::size_t>(planes));
    std::vector<std::uint8_t> rgb(std::size_t{block_width} * 3);
    const std::uint32_t width = static_cast<std::uint32_t>(layout.width);
    const std::uint32_t height = static_cast<std::uint32_t>(layout.height);
    for (std::uint32_t top = 0; top < height; top += block_height) {
      const std::uint32_t row_count = std::min(block_height, height - top);
      for (std::uint32_t left = 0; left < width; left += block_width) {
        const std::uint32_t columns = std::min(block_width, width - left);
        for (int plane = 0; plane < planes; ++plane) {
          std::uint8_t* const to = blocks.data() + block_bytes * static_cast<std::size_t>(plane);
          const auto sample = static_cast<std::uint16_t>(plane);
          const tmsize_t wanted = static_cast<tmsize_t>(tiled ? block_bytes : row_bytes * row_count);
          const tmsize_t got =
              tiled ? TIFFReadEncodedTile(tiff, TIFFComputeTile(tiff, left, top, 0, sample), to, wanted)
                    : TIFFReadEncodedStrip(tiff, TIFFComputeStrip(tiff, top, sample), to, wanted);
          if (got != wanted) fail();
        }
        for (std::uint32_t y = 0; y < row_count; ++y) {
          layout.to_rgb(blocks.data() + y * row_bytes, block_bytes, static_cast<int>(columns), rgb.data());
          rows.write(static_cast<int>(left), static_cast<int>(top + y), static_cast<int>(columns),
                     rgb.data());
        }
      }
    }
  }

  /// Colour spaces that only libtiff's own conversion knows (subsampled YCbCr, CIE Lab,
  /// LogLuv). Costs four bytes a pixel more.
  engine::RgbImage read_by_libtiff(const TiffLayout& layout) {
    char reason[1024] = "";
    if (TIFFRGBAImageOK(tiff_.get(), reason) == 0) {
      throw ItemError("image.unsupported", "TIFF cannot be read: " + std::string(reason));
    }
    std::vector<std::uint32_t> raster(static_cast<std::size_t>(layout.width) * layout.height);
    std::uint16_t orientation = ORIENTATION_TOPLEFT;
    TIFFGetFieldDefaulted(tiff_.get(), TIFFTAG_ORIENTATION, &orientation);
    if (orientation < 1 || orientation > 8) orientation = 1;
    // Asking for the stored orientation keeps libtiff from flipping.
    if (TIFFReadRGBAImageOriented(tiff_.get(), static_cast<std::uint32_t>(layout.width),
                                  static_cast<std::uint32_t>(layout.height), raster.data(), orientation,
                                  1) == 0) {
      fail();
    }
    engine::RgbImage image;
    UprightRows rows(image, layout.width, layout.height, orientation);
    std::vector<std::uint8_t> rgb(static_cast<std::size_t>(layout.width) * 3);
    for (int y = 0; y < layout.height; ++y) {
      const std::uint32_t* const row = raster.data() + static_cast<std::size_t>(y) * layout.width;
      for (int x = 0; x < layout.width; ++x) {
        rgb[static_cast<std::size_t>(x) * 3] = static_cast<std::uint8_t>(TIFFGetR(row[x]));
        rgb[static_cast<std::size_t>(x) * 3 + 1] = static_cast<std::uint8_t>(TIFFGetG(row[x]));
        rgb[static_cast<std::size_t>(x) * 3 + 2] = static_cast<std::uint8_t>(TIFFGetB(row[x]));
      }
      rows.write(y, rgb.data());
    }
    return image;
  }

  std::unique_ptr<ByteSource> source_;
  std::uint64_t max_pixels_;
  std::string message_;
  std::unique_ptr<TIFF, TiffCloser> tiff_;
  std::vector<toff_t> offsets_;
};

}  // namespace

std::unique_ptr<PictureReader> open_tiff(std::unique_ptr<ByteSource> source, std::uint64_t max_pixels) {
  return std::make_unique<TiffReader>(std::move(source), max_pixels);
}

}  // namespace reelfolio::stages
