#include "tests/stages/picture_files.h"

#include <png.h>
#include <tiffio.h>
#include <webp/encode.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

extern "C" {
#include <jpeglib.h>
}

namespace reelfolio::stages {
namespace {

std::string little_endian(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(value >> (8 * i));
  return text;
}

/// Rows of `bits` bits a sample, each row ending on a whole byte; 16 bits as `big_endian`.
std::vector<std::uint8_t> pack(const std::vector<std::uint16_t>& samples, std::size_t per_row, int bits) {
  std::vector<std::uint8_t> bytes;
  for (std::size_t at = 0; at < samples.size(); at += per_row) {
    unsigned held = 0;
    int count = 0;
    for (std::size_t i = 0; i < per_row; ++i) {
      if (bits == 16) {
        bytes.push_back(static_cast<std::uint8_t>(samples[at + i] >> 8U));
        bytes.push_back(static_cast<std::uint8_t>(samples[at + i]));
        continue;
      }
      held = (held << bits) | samples[at + i];
      count += bits;
      if (count == 8) {
        bytes.push_back(static_cast<std::uint8_t>(held));
        held = 0;
        count = 0;
      }
    }
    if (count > 0) bytes.push_back(static_cast<std::uint8_t>(held << (8 - count)));
  }
  return bytes;
}

}  // namespace

engine::RgbImage test_picture(int width, int height) {
  engine::RgbImage image{width, height, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      image.pixels.push_back(static_cast<std::uint8_t>(x * 6 + y));
      image.pixels.push_back(static_cast<std::uint8_t>(y * 11));
      image.pixels.push_back(static_cast<std::uint8_t>((x * 31) ^ (y * 17)));
    }
  }
  return image;
}

engine::RgbImage block_picture() {
  engine::RgbImage image{48, 32, {}};
  for (int y = 0; y < 32; ++y) {
    for (int x = 0; x < 48; ++x) {
      const int block = y / 16 * 3 + x / 16;
      for (int c = 0; c < 3; ++c) {
        image.pixels.push_back(
            static_cast<std::uint8_t>(20 + block * 40 * (c == block % 3 ? 1 : 0) + c * 30));
      }
    }
  }
  return image;
}

engine::RgbImage stored_for(const engine::RgbImage& upright, int orientation) {
  const bool turned = orientation >= 5;
  engine::RgbImage stored;
  stored.width = turned ? upright.height : upright.width;
  stored.height = turned ? upright.width : upright.height;
  const int right = upright.width - 1;
  const int bottom = upright.height - 1;
  for (int row = 0; row < stored.height; ++row) {
    for (int column = 0; column < stored.width; ++column) {
      // TIFF 6.0, "Orientation": which side of the picture row 0 and column 0 are.
      int x = 0;
      int y = 0;
      switch (orientation) {
        case 1:
          x = column, y = row;
          break;  // top, left
        case 2:
          x = right - column, y = row;
          break;  // top, right
        case 3:
          x = right - column, y = bottom - row;
          break;  // bottom, right
        case 4:
          x = column, y = bottom - row;
          break;  // bottom, left
        case 5:
          x = row, y = column;
          break;  // left, top
        case 6:
          x = right - row, y = column;
          break;  // right, top
        case 7:
          x = right - row, y = bottom - column;
          break;  // right, bottom
        default:
          x = row, y = bottom - column;
          break;  // left, bottom
      }
      const std::uint8_t* pixel = upright.row(y) + x * 3;
      stored.pixels.insert(stored.pixels.end(), pixel, pixel + 3);
    }
  }
  return stored;
}

int worst_difference(const engine::RgbImage& a, const engine::RgbImage& b) {
  if (a.width != b.width || a.height != b.height || a.pixels.size() != b.pixels.size()) return 256;
  int worst = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) {
    worst = std::max(worst, std::abs(int{a.pixels[i]} - int{b.pixels[i]}));
  }
  return worst;
}

std::string exif_block(int orientation, bool big_endian) {
  const auto number = [big_endian](unsigned value, int bytes) {
    std::string text = little_endian(value, bytes);
    return big_endian ? std::string(text.rbegin(), text.rend()) : text;
  };
  // Header, then a directory of two entries: image width (long) and orientation (short).
  return (big_endian ? "MM" : "II") + number(42, 2) + number(8, 4) + number(2, 2) + number(0x100, 2) +
         number(4, 2) + number(1, 4) + number(37, 4) + number(0x112, 2) + number(3, 2) + number(1, 4) +
         number(static_cast<unsigned>(orientation), 2) + number(0, 2) + number(0, 4);
}

std::string png_file(const PngSpec& spec) {
  std::string file;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(
      png, &file,
      [](png_structp p, png_bytep data, std::size_t size) {
        static_cast<std::string*>(png_get_io_ptr(p))->append(reinterpret_cast<const char*>(data), size);
      },
      nullptr);
  png_set_IHDR(png, info, static_cast<png_uint_32>(spec.width), static_cast<png_uint_32>(spec.height),
               spec.bits, spec.color_type, spec.interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (!spec.palette.empty()) {
    png_set_PLTE(png, info, reinterpret_cast<png_const_colorp>(spec.palette.data()),
                 static_cast<int>(spec.palette.size() / 3));
  }
  if (!spec.palette_alpha.empty()) {
    png_set_tRNS(png, info, reinterpret_cast<png_const_bytep>(spec.palette_alpha.data()),
                 static_cast<int>(spec.palette_alpha.size()), nullptr);
  }
  std::string exif = spec.exif;
  if (!exif.empty()) {
    png_set_eXIf_1(png, info, static_cast<png_uint_32>(exif.size()),
                   reinterpret_cast<png_bytep>(exif.data()));
  }
  png_write_info(png, info);
  const std::size_t per_row = spec.samples.size() / static_cast<std::size_t>(spec.height);
  std::vector<std::uint8_t> bytes = pack(spec.samples, per_row, spec.bits);
  const std::size_t row_bytes = bytes.size() / static_cast<std::size_t>(spec.height);
  std::vector<png_bytep> rows;
  for (int y = 0; y < spec.height; ++y)
    rows.push_back(bytes.data() + static_cast<std::size_t>(y) * row_bytes);
  png_write_image(png, rows.data());
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  return file;
}

std::string png_file(const engine::RgbImage& image, bool interlaced, const std::string& exif) {
  PngSpec spec;
  spec.width = image.width;
  spec.height = image.height;
  spec.interlaced = interlaced;
  spec.samples.assign(image.pixels.begin(), image.pixels.end());
  spec.exif = exif;
  return png_file(spec);
}

std::string jpeg_file(int width, int height, const std::vector<std::uint8_t>& samples, const JpegSpec& spec) {
  jpeg_compress_struct jpeg{};
  jpeg_error_mgr errors{};
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  unsigned char* data = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&jpeg, &data, &size);
  jpeg.image_width = static_cast<JDIMENSION>(width);
  jpeg.image_height = static_cast<JDIMENSION>(height);
  const bool four = spec.colour == JpegColour::cmyk || spec.colour == JpegColour::ycck;
  jpeg.input_components = four ? 4 : (spec.colour == JpegColour::grey ? 1 : 3);
  jpeg.in_color_space = four ? JCS_CMYK : (spec.colour == JpegColour::grey ? JCS_GRAYSCALE : JCS_RGB);
  jpeg_set_defaults(&jpeg);
  if (spec.colour == JpegColour::ycck) jpeg_set_colorspace(&jpeg, JCS_YCCK);
  if (four && !spec.adobe_marker) jpeg.write_Adobe_marker = FALSE;
  jpeg_set_quality(&jpeg, 100, TRUE);
  for (int c = 0; c < jpeg.num_components; ++c) {
    jpeg.comp_info[c].h_samp_factor = 1;
    jpeg.comp_info[c].v_samp_factor = 1;
  }
  if (spec.progressive) jpeg_simple_progression(&jpeg);
  jpeg_start_compress(&jpeg, TRUE);
  if (!spec.exif.empty()) {
    const std::string marker = std::string("Exif\0\0", 6) + spec.exif;
    jpeg_write_marker(&jpeg, JPEG_APP0 + 1, reinterpret_cast<const JOCTET*>(marker.data()),
                      static_cast<unsigned>(marker.size()));
  }
  const std::size_t row_samples = static_cast<std::size_t>(width) * jpeg.input_components;
  while (jpeg.next_scanline < jpeg.image_height) {
    auto* row = const_cast<JSAMPROW>(samples.data() + jpeg.next_scanline * row_samples);
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  std::string file(reinterpret_cast<const char*>(data), size);
  std::free(data);
  jpeg_destroy_compress(&jpeg);
  return file;
}

std::string jpeg_file(const engine::RgbImage& image, const JpegSpec& spec) {
  return jpeg_file(image.width, image.height, image.pixels, spec);
}

std::string webp_file(const engine::RgbImage& image, const std::string& exif) {
  std::uint8_t* data = nullptr;
  const std::size_t size =
      WebPEncodeLosslessRGB(image.pixels.data(), image.width, image.height, image.width * 3, &data);
  std::string file(reinterpret_cast<const char*>(data), size);
  WebPFree(data);
  if (exif.empty()) return file;
  // Extended header: flags (8 is EXIF), then width - 1 and height - 1 in 24 bits.
  std::string body = "WEBPVP8X" + little_endian(10, 4) + little_endian(8, 4) +
                     little_endian(static_cast<unsigned>(image.width - 1), 3) +
                     little_endian(static_cast<unsigned>(image.height - 1), 3) + file.substr(12) + "EXIF" +
                     little_endian(exif.size(), 4) + exif;
  if (exif.size() % 2 != 0) body += '\0';
  return "RIFF" + little_endian(body.size(), 4) + body;
}

std::string webp_rgba_file(int width, int height, const std::vector<std::uint8_t>& rgba) {
  WebPConfig config;
  WebPConfigInit(&config);
  config.lossless = 1;
  config.exact = 1;  // keeps the colour under transparent pixels
  WebPPicture picture;
  WebPPictureInit(&picture);
  picture.use_argb = 1;
  picture.width = width;
  picture.height = height;
  WebPPictureImportRGBA(&picture, rgba.data(), width * 4);
  WebPMemoryWriter writer;
  WebPMemoryWriterInit(&writer);
  picture.writer = WebPMemoryWrite;
  picture.custom_ptr = &writer;
  if (WebPEncode(&config, &picture) == 0) throw std::runtime_error("WebPEncode failed");
  std::string file(reinterpret_cast<const char*>(writer.mem), writer.size);
  WebPMemoryWriterClear(&writer);
  WebPPictureFree(&picture);
  return file;
}

TiffPage tiff_page(const engine::RgbImage& image) {
  TiffPage page;
  page.width = image.width;
  page.height = image.height;
  page.values.assign(image.pixels.begin(), image.pixels.end());
  return page;
}

void write_tiff(const std::filesystem::path& path, const std::vector<TiffPage>& pages) {
  TIFF* tiff = TIFFOpen(path.c_str(), pages.front().big_endian ? "wb" : "wl");
  if (tiff == nullptr) throw std::runtime_error("TIFFOpen failed");
  for (const TiffPage& page : pages) {
    TIFFSetField(tiff, TIFFTAG_IMAGEWIDTH, page.width);
    TIFFSetField(tiff, TIFFTAG_IMAGELENGTH, page.height);
    TIFFSetField(tiff, TIFFTAG_BITSPERSAMPLE, page.bits);
    TIFFSetField(tiff, TIFFTAG_SAMPLESPERPIXEL, page.samples);
    TIFFSetField(tiff, TIFFTAG_PHOTOMETRIC, page.photometric);
    TIFFSetField(tiff, TIFFTAG_COMPRESSION, page.compression);
    TIFFSetField(tiff, TIFFTAG_ORIENTATION, page.orientation);
    TIFFSetField(tiff, TIFFTAG_SUBFILETYPE, page.subfile_type);
    TIFFSetField(tiff, TIFFTAG_PLANARCONFIG, page.separate ? PLANARCONFIG_SEPARATE : PLANARCONFIG_CONTIG);
    if (page.extra_sample >= 0) {
      const auto extra = static_cast<std::uint16_t>(page.extra_sample);
      TIFFSetField(tiff, TIFFTAG_EXTRASAMPLES, 1, &extra);
    }
    if (!page.palette.empty()) {
      const std::size_t entries = page.palette.size() / 3;
      TIFFSetField(tiff, TIFFTAG_COLORMAP, page.palette.data(), page.palette.data() + entries,
                   page.palette.data() + 2 * entries);
    }
    const int block_width = page.tile > 0 ? page.tile : page.width;
    const int block_height = page.tile > 0 ? page.tile : 5;
    if (page.tile > 0) {
      TIFFSetField(tiff, TIFFTAG_TILEWIDTH, page.tile);
      TIFFSetField(tiff, TIFFTAG_TILELENGTH, page.tile);
    } else {
      TIFFSetField(tiff, TIFFTAG_ROWSPERSTRIP, block_height);
    }
    const int planes = page.separate ? page.samples : 1;
    const int together = page.samples / planes;
    for (int plane = 0; plane < planes; ++plane) {
      for (int top = 0; top < page.height; top += block_height) {
        for (int left = 0; left < page.width; left += block_width) {
          const int rows = page.tile > 0 ? page.tile : std::min(block_height, page.height - top);
          std::vector<std::uint16_t> block;
          for (int y = top; y < top + rows; ++y) {
            for (int x = left; x < left + block_width; ++x) {
              for (int s = 0; s < together; ++s) {
                const bool inside = y < page.height && x < page.width;
                block.push_back(inside ? page.values[static_cast<std::size_t>(
                                             (y * page.width + x) * page.samples + plane + s)]
                                       : 0);
              }
            }
          }
          std::vector<std::uint8_t> bytes;
          if (page.bits == 16) {  // libtiff takes the machine's byte order
            const auto* raw = reinterpret_cast<const std::uint8_t*>(block.data());
            bytes.assign(raw, raw + block.size() * 2);
          } else {
            bytes = pack(block, static_cast<std::size_t>(block_width * together), page.bits);
          }
          const auto sample = static_cast<std::uint16_t>(plane);
          const auto size = static_cast<tmsize_t>(bytes.size());
          if (page.tile > 0) {
            TIFFWriteEncodedTile(tiff,
                                 TIFFComputeTile(tiff, static_cast<std::uint32_t>(left),
                                                 static_cast<std::uint32_t>(top), 0, sample),
                                 bytes.data(), size);
          } else {
            TIFFWriteEncodedStrip(tiff, TIFFComputeStrip(tiff, static_cast<std::uint32_t>(top), sample),
                                  bytes.data(), size);
          }
        }
      }
    }
    TIFFWriteDirectory(tiff);
  }
  TIFFClose(tiff);
}

std::string bmp_file(const engine::RgbImage& image) {
  std::string pixels;
  for (int y = image.height - 1; y >= 0; --y) {
    for (int x = 0; x < image.width; ++x) {
      for (int c = 2; c >= 0; --c) pixels += static_cast<char>(image.row(y)[x * 3 + c]);
    }
    while (pixels.size() % 4 != 0) pixels += '\0';
  }
  return "BM" + little_endian(54 + pixels.size(), 4) + little_endian(0, 4) + little_endian(54, 4) +
         little_endian(40, 4) + little_endian(static_cast<unsigned>(image.width), 4) +
         little_endian(static_cast<unsigned>(image.height), 4) + little_endian(1, 2) + little_endian(24, 2) +
         little_endian(0, 4) + little_endian(pixels.size(), 4) + std::string(16, '\0') + pixels;
}

std::string gif_file(int count) {
  // 2 x 1 pixels; palette black and (10, 200, 30). LZW with 3-bit codes: clear, 1, 1, end.
  std::string file = "GIF89a" + little_endian(2, 2) + little_endian(1, 2) + std::string("\x80\0\0", 3) +
                     std::string("\0\0\0\x0A\xC8\x1E", 6);
  for (int i = 0; i < count; ++i) {
    file += "," + std::string(4, '\0') + little_endian(2, 2) + little_endian(1, 2) +
            std::string("\0\x02", 2) + std::string("\x02\x4C\x0A\0", 4);
  }
  return file + ";";
}

}  // namespace reelfolio::stages
