#include <tiff.h>

#include <algorithm>

#include "stages/image/orientation.h"
#include "stages/image/picture_reader.h"
#include "stages/image/read_images.h"
#include "stages/soft_token_budget.h"
#include "tests/stages/media_fixture.h"
#include "tests/stages/picture_files.h"
#include "tests/support/catch.h"

using namespace reelfolio;
using namespace reelfolio::stages;

namespace {

constexpr std::uint64_t kPlenty = 1'000'000;

engine::RgbImage decode(const std::filesystem::path& path, int page = 0, std::uint64_t max_pixels = kPlenty) {
  return open_picture(path, max_pixels)->read(page);
}
engine::RgbImage decode(const std::string& bytes) {
  const MediaFolder folder;
  return decode(folder.write("picture", bytes));
}

std::string tiff_bytes(const std::vector<TiffPage>& pages) {
  const MediaFolder folder;
  write_tiff(folder.path("t.tif"), pages);
  return read_file(folder.path("t.tif"));
}

engine::RgbImage grey_image(int width, int height, const std::vector<std::uint8_t>& values) {
  engine::RgbImage image{width, height, {}};
  for (const std::uint8_t value : values) image.pixels.insert(image.pixels.end(), 3, value);
  return image;
}

/// One small file of each format, named for messages.
std::vector<std::pair<std::string, std::string>> all_formats() {
  const engine::RgbImage picture = test_picture();
  JpegSpec progressive;
  progressive.progressive = true;
  TiffPage lzw = tiff_page(picture);
  lzw.compression = COMPRESSION_LZW;
  TiffPage jpeg = tiff_page(test_picture(32, 32));
  jpeg.compression = COMPRESSION_JPEG;
  jpeg.tile = 16;
  std::string ppm = "P6\n37 23\n255\n";
  ppm.append(reinterpret_cast<const char*>(picture.pixels.data()), picture.pixels.size());
  return {{"png", png_file(picture)},
          {"interlaced png", png_file(picture, true)},
          {"jpeg", jpeg_file(picture)},
          {"progressive jpeg", jpeg_file(picture, progressive)},
          {"webp", webp_file(picture)},
          {"extended webp", webp_file(picture, exif_block(6, false))},
          {"tiff", tiff_bytes({tiff_page(picture)})},
          {"lzw tiff", tiff_bytes({lzw})},
          {"tiled jpeg tiff", tiff_bytes({jpeg})},
          {"bmp", bmp_file(picture)},
          {"ppm", ppm},
          {"gif", gif_file(1)}};
}

/// Decodes whatever it is; anything but a picture or an ItemError escapes and fails the test.
std::string outcome(const std::filesystem::path& path, engine::RgbImage* image = nullptr) {
  return error_code([&] {
    const auto reader = open_picture(path, kPlenty);
    for (int page = 0; page < std::min(reader->pages(), 3); ++page) {
      const engine::RgbImage decoded = reader->read(page);
      if (image != nullptr) *image = decoded;
    }
  });
}

}  // namespace

TEST_CASE("png: colours and places survive, interlaced or not") {
  const engine::RgbImage picture = test_picture();
  CHECK(worst_difference(decode(png_file(picture)), picture) == 0);
  CHECK(worst_difference(decode(png_file(picture, true)), picture) == 0);
}

TEST_CASE("png: of 16 bits the high byte is kept") {
  PngSpec spec{2, 1, 16, 2, false, {0x12FF, 0x3400, 0x5680, 0xFFFF, 0x0001, 0x80FE}, "", "", ""};
  CHECK(decode(png_file(spec)).pixels == std::vector<std::uint8_t>{0x12, 0x34, 0x56, 0xFF, 0x00, 0x80});
  spec = {2, 1, 16, 0, false, {0xABCD, 0x00FF}, "", "", ""};
  CHECK(decode(png_file(spec)).pixels == std::vector<std::uint8_t>{0xAB, 0xAB, 0xAB, 0, 0, 0});
}

TEST_CASE("png: grey of 1, 2 and 4 bits spans 0 to 255") {
  CHECK(decode(png_file({2, 1, 1, 0, false, {1, 0}, "", "", ""})).pixels ==
        grey_image(2, 1, {255, 0}).pixels);
  CHECK(decode(png_file({4, 1, 2, 0, false, {0, 1, 2, 3}, "", "", ""})).pixels ==
        grey_image(4, 1, {0, 85, 170, 255}).pixels);
  CHECK(decode(png_file({3, 1, 4, 0, false, {1, 8, 15}, "", "", ""})).pixels ==
        grey_image(3, 1, {17, 136, 255}).pixels);
}

TEST_CASE("png: palettes of every depth are expanded, their transparency ignored") {
  const std::string palette("\x0A\x14\x1E\xC8\x64\x32", 6);
  const std::vector<std::uint8_t> expected = {200, 100, 50, 10, 20, 30, 200, 100, 50};
  for (const int bits : {1, 2, 4, 8}) {
    INFO(bits << " bits");
    CHECK(decode(png_file({3, 1, bits, 3, false, {1, 0, 1}, palette, "", ""})).pixels == expected);
    CHECK(decode(png_file({3, 1, bits, 3, true, {1, 0, 1}, palette, std::string("\x80\0", 2), ""})).pixels ==
          expected);
  }
}

TEST_CASE("png: alpha is dropped, not blended") {
  const PngSpec colour{2, 1, 8, 6, false, {9, 99, 199, 0, 1, 2, 3, 128}, "", "", ""};
  CHECK(decode(png_file(colour)).pixels == std::vector<std::uint8_t>{9, 99, 199, 1, 2, 3});
  const PngSpec grey{2, 1, 8, 4, false, {40, 0, 50, 255}, "", "", ""};
  CHECK(decode(png_file(grey)).pixels == grey_image(2, 1, {40, 50}).pixels);
}

TEST_CASE("orientation: all eight values give the same upright pixels in every format") {
  const engine::RgbImage upright = test_picture();
  const engine::RgbImage blocks = block_picture();
  for (int orientation = 1; orientation <= 8; ++orientation) {
    INFO("orientation " << orientation);
    const engine::RgbImage stored = stored_for(upright, orientation);
    for (const bool big_endian : {false, true}) {
      const std::string exif = exif_block(orientation, big_endian);
      CHECK(worst_difference(decode(png_file(stored, false, exif)), upright) == 0);
      CHECK(worst_difference(decode(webp_file(stored, exif)), upright) == 0);
      JpegSpec spec;
      spec.exif = exif;
      CHECK(worst_difference(decode(jpeg_file(stored_for(blocks, orientation), spec)), blocks) <= 3);
    }
    TiffPage page = tiff_page(stored);
    page.orientation = orientation;
    CHECK(worst_difference(decode(tiff_bytes({page})), upright) == 0);
    page.tile = 16;
    CHECK(worst_difference(decode(tiff_bytes({page})), upright) == 0);
  }
}

TEST_CASE("orientation: damaged EXIF means upright") {
  const std::string good = exif_block(6, true);
  const auto read = [](const std::string& bytes) {
    return exif_orientation({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
  };
  CHECK(read(good) == 6);
  CHECK(read(std::string("Exif\0\0", 6) + good) == 6);
  for (std::size_t length = 0; length < 34; ++length) CHECK(read(good.substr(0, length)) == 1);
  for (const int value : {0, 9, 255}) CHECK(read(exif_block(value, false)) == 1);
  std::string far_away = good;
  far_away[4] = '\xFF';
  CHECK(read(far_away) == 1);
}

TEST_CASE("jpeg: baseline, progressive and grey") {
  const engine::RgbImage blocks = block_picture();
  JpegSpec progressive;
  progressive.progressive = true;
  CHECK(worst_difference(decode(jpeg_file(blocks)), blocks) <= 3);
  CHECK(worst_difference(decode(jpeg_file(blocks, progressive)), decode(jpeg_file(blocks))) == 0);
  JpegSpec grey;
  grey.colour = JpegColour::grey;
  const std::vector<std::uint8_t> values(8 * 8, 77);
  CHECK(worst_difference(decode(jpeg_file(8, 8, values, grey)), grey_image(8, 8, values)) <= 1);
}

TEST_CASE("jpeg: CMYK and YCCK are stored as light, and converted the plain way") {
  // Stored 255 - ink: C 55, M 155, Y 205, K 75 of ink.
  std::vector<std::uint8_t> samples;
  for (int i = 0; i < 64; ++i) samples.insert(samples.end(), {200, 100, 50, 180});
  const int red = (200 * 180 + 127) / 255;
  const int green = (100 * 180 + 127) / 255;
  const int blue = (50 * 180 + 127) / 255;
  for (const JpegColour colour : {JpegColour::cmyk, JpegColour::ycck}) {
    for (const bool marker : {true, false}) {
      if (colour == JpegColour::ycck && !marker) continue;  // only the marker tells it from CMYK
      JpegSpec spec;
      spec.colour = colour;
      spec.adobe_marker = marker;
      const engine::RgbImage image = decode(jpeg_file(8, 8, samples, spec));
      CHECK(std::abs(image.pixels[0] - red) <= 2);
      CHECK(std::abs(image.pixels[1] - green) <= 2);
      CHECK(std::abs(image.pixels[2] - blue) <= 2);
    }
  }
}

TEST_CASE("jpeg: one scan whose end marker alone is missing is whole") {
  const std::string file = jpeg_file(block_picture());
  CHECK(worst_difference(decode(file.substr(0, file.size() - 2)), decode(file)) == 0);
}

TEST_CASE("webp: alpha is dropped, not blended") {
  CHECK(worst_difference(decode(webp_file(test_picture())), test_picture()) == 0);
  CHECK(decode(webp_rgba_file(2, 1, {9, 99, 199, 0, 1, 2, 3, 128})).pixels ==
        std::vector<std::uint8_t>{9, 99, 199, 1, 2, 3});
}

TEST_CASE("tiff: strips, tiles, planes, compressions and byte orders give the same pixels") {
  const engine::RgbImage picture = test_picture();
  for (const int compression :
       {COMPRESSION_NONE, COMPRESSION_LZW, COMPRESSION_ADOBE_DEFLATE, COMPRESSION_PACKBITS}) {
    for (const int tile : {0, 16}) {
      for (const bool separate : {false, true}) {
        for (const bool big_endian : {false, true}) {
          TiffPage page = tiff_page(picture);
          page.compression = compression;
          page.tile = tile;
          page.separate = separate;
          page.big_endian = big_endian;
          INFO("compression " << compression << ", tile " << tile << ", separate " << separate);
          CHECK(worst_difference(decode(tiff_bytes({page})), picture) == 0);
          for (std::uint16_t& value : page.values) value = static_cast<std::uint16_t>(value << 8U | 0x7F);
          page.bits = 16;
          CHECK(worst_difference(decode(tiff_bytes({page})), picture) == 0);
        }
      }
    }
  }
}

TEST_CASE("tiff: grey, bilevel, fax and palettes") {
  TiffPage page;
  page.width = 4;
  page.height = 1;
  page.samples = 1;
  page.bits = 2;
  page.values = {0, 1, 2, 3};
  page.photometric = PHOTOMETRIC_MINISBLACK;
  CHECK(decode(tiff_bytes({page})).pixels == grey_image(4, 1, {0, 85, 170, 255}).pixels);
  page.photometric = PHOTOMETRIC_MINISWHITE;
  CHECK(decode(tiff_bytes({page})).pixels == grey_image(4, 1, {255, 170, 85, 0}).pixels);
  page.bits = 1;
  page.values = {1, 0, 0, 1};
  for (const int compression : {COMPRESSION_NONE, COMPRESSION_CCITTFAX3, COMPRESSION_CCITTFAX4}) {
    page.compression = compression;
    CHECK(decode(tiff_bytes({page})).pixels == grey_image(4, 1, {0, 255, 255, 0}).pixels);
  }
  page.compression = COMPRESSION_NONE;
  page.photometric = PHOTOMETRIC_PALETTE;
  for (const int bits : {1, 2, 4, 8}) {
    page.bits = bits;
    const std::size_t entries = std::size_t{1} << static_cast<unsigned>(bits);
    page.palette.assign(3 * entries, 0);
    page.palette[1] = 200 << 8;
    page.palette[entries + 1] = 100 << 8;
    page.palette[2 * entries] = 50 << 8;
    CHECK(decode(tiff_bytes({page})).pixels ==
          std::vector<std::uint8_t>{200, 100, 0, 0, 0, 50, 0, 0, 50, 200, 100, 0});
  }
}

TEST_CASE("tiff: CMYK is ink, alpha is dropped, multiplied colours are divided") {
  TiffPage page;
  page.width = 1;
  page.height = 1;
  page.samples = 4;
  page.photometric = PHOTOMETRIC_SEPARATED;
  page.values = {55, 155, 205, 75};
  CHECK(decode(tiff_bytes({page})).pixels == std::vector<std::uint8_t>{141, 71, 35});
  page.photometric = PHOTOMETRIC_RGB;
  page.values = {50, 60, 70, 100};
  page.extra_sample = EXTRASAMPLE_UNASSALPHA;
  CHECK(decode(tiff_bytes({page})).pixels == std::vector<std::uint8_t>{50, 60, 70});
  page.extra_sample = EXTRASAMPLE_ASSOCALPHA;
  CHECK(decode(tiff_bytes({page})).pixels == std::vector<std::uint8_t>{127, 153, 178});
}

TEST_CASE("bmp, gif and pnm") {
  const engine::RgbImage picture = test_picture();
  CHECK(worst_difference(decode(bmp_file(picture)), picture) == 0);
  CHECK(decode(gif_file(1)).pixels == std::vector<std::uint8_t>{10, 200, 30, 10, 200, 30});
  CHECK(decode(std::string("P3 2 1 255  1 2 3  40 50 60\n")).pixels ==
        std::vector<std::uint8_t>{1, 2, 3, 40, 50, 60});
  CHECK(decode(std::string("P5\n2 1\n255\n\x07\xC8", 13)).pixels == grey_image(2, 1, {7, 200}).pixels);
  CHECK(decode(std::string("P4\n8 1\n\xA0", 8)).pixels ==
        grey_image(8, 1, {0, 255, 0, 255, 255, 255, 255, 255}).pixels);
}

TEST_CASE("pictures: one beyond max_pixels is refused in every format") {
  const MediaFolder folder;
  for (const auto& [format, bytes] : all_formats()) {
    INFO(format);
    const auto path = folder.write("picture", bytes);
    CHECK(error_code([&] { decode(path, 0, 1); }) == "image.too_large");
  }
}

TEST_CASE("png: a header that claims two thousand million pixels allocates nothing") {
  std::string file = png_file(test_picture());
  file[16] = file[20] = '\x00';
  file[17] = file[21] = '\x7F';
  CHECK(outcome(MediaFolder().write("p", "")) == "image.unsupported");
  const MediaFolder folder;
  // The checksum is wrong now too; either reason will do, a picture will not.
  const std::string code = outcome(folder.write("picture", file));
  CHECK((code == "image.too_large" || code == "image.corrupt"));
}

TEST_CASE("pictures: cut anywhere, they are whole or an error, never in part") {
  const MediaFolder folder;
  for (const auto& [format, bytes] : all_formats()) {
    engine::RgbImage whole;
    REQUIRE(outcome(folder.write("picture", bytes), &whole) == "");
    for (std::size_t sixteenth = 0; sixteenth < 16; ++sixteenth) {
      const std::size_t length = bytes.size() * sixteenth / 16;
      engine::RgbImage part;
      const std::string code = outcome(folder.write("picture", bytes.substr(0, length)), &part);
      INFO(format << " cut to " << length << " of " << bytes.size() << " bytes: " << code);
      if (code.empty()) {
        CHECK(worst_difference(part, whole) == 0);
        CHECK(sixteenth == 15);
      }
      if (sixteenth >= 8 && sixteenth < 15 && format != "gif") CHECK(code == "image.truncated");
    }
  }
}

TEST_CASE("pictures: flipped bits give a picture or an error") {
  const MediaFolder folder;
  for (const auto& [format, bytes] : all_formats()) {
    Sequence random(bytes.size());
    for (int round = 0; round < 200; ++round) {
      std::string damaged = bytes;
      const std::uint32_t flips = 1 + random.next(4);
      for (std::uint32_t i = 0; i < flips; ++i) {
        // Half of them in the first bytes, where the headers are.
        const auto size = static_cast<std::uint32_t>(bytes.size());
        const std::uint32_t at = random.next(random.next(2) == 0 ? size : std::min<std::uint32_t>(size, 64));
        damaged[at] = static_cast<char>(damaged[at] ^ static_cast<char>(1U << random.next(8)));
      }
      const std::string code = outcome(folder.write("picture", damaged));
      INFO(format << " round " << round << ": " << code);
      CHECK((code.empty() || code.rfind("image.", 0) == 0));
    }
  }
}

TEST_CASE("read_images: one unit a file, with its size and budget") {
  const MediaFolder folder;
  const auto path = folder.write("turned.png", png_file(test_picture(), false, exif_block(6, false)));
  const Collector out = run_stage(read_images_type(), path);
  REQUIRE(out.items.size() == 1);
  const Item& item = out.items[0];
  CHECK(item.unit->kind == UnitKind::image);
  CHECK(item.unit->producer == "made");
  CHECK(item.unit->index == 0);
  CHECK(item.unit->number == 1);
  CHECK(item.unit->width_px == 23);
  CHECK(item.unit->height_px == 37);
  REQUIRE(item.pictures.size() == 1);
  CHECK(item.pictures[0].soft_tokens == 280);
  CHECK(item.pictures[0].image->width == 23);
}

TEST_CASE("read_images: pages of a tiff are units, reduced copies are none") {
  const MediaFolder folder;
  const auto path = folder.path("pages.tif");
  TiffPage thumbnail = tiff_page(test_picture(5, 4));
  thumbnail.subfile_type = FILETYPE_REDUCEDIMAGE;
  write_tiff(path, {tiff_page(test_picture(10, 8)), thumbnail, tiff_page(test_picture(12, 9)),
                    tiff_page(test_picture(14, 7))});
  const auto widths = [&](const std::string& pages) {
    std::vector<int> result;
    for (const Item& item : run_stage(read_images_type(), path, {{"pages", pages}}).items) {
      CHECK(item.unit->number == item.unit->index + 1);
      result.push_back(item.unit->width_px);
    }
    return result;
  };
  CHECK(widths("1-") == std::vector<int>{10, 12, 14});
  CHECK(widths("2-9") == std::vector<int>{12, 14});
  CHECK(widths("last") == std::vector<int>{14});
  CHECK(error_code([&] {
          run_stage(read_images_type(), path, {{"pages", std::string("4-")}});
        }) == "image.page_range");

  const Collector limited = run_stage(read_images_type(), path, {{"max_pages", std::int64_t{2}}});
  CHECK(limited.items.size() == 2);
  CHECK(limited.errors == std::vector<std::pair<std::string, int>>{{"image.page_limit", 0}});

  const Collector small = run_stage(read_images_type(), path, {{"max_pixels", std::int64_t{100}}});
  CHECK(small.items.size() == 2);
  CHECK(small.errors == std::vector<std::pair<std::string, int>>{{"image.too_large", 2}});
}

TEST_CASE("read_images: a file of another size than the one probed is refused") {
  const MediaFolder folder;
  const auto path = folder.write("p.png", png_file(test_picture()));
  const StageType type = read_images_type();
  Params params;
  for (const ParamSpec& spec : type.params) params.set(spec.name, spec.default_value);
  const auto stage = type.make_transform(params, {});
  auto input = std::make_shared<InputFile>();
  input->path = path;
  input->size_bytes = 5;
  Collector out;
  CHECK(error_code([&] { stage->make_worker()->process(Item{input, nullptr, {}}, out); }) == "input.changed");
}

TEST_CASE("read_images: a budget that the model lacks is a parameter error") {
  const MediaFolder folder;
  const auto path = folder.write("p.png", png_file(test_picture()));
  CHECK_THROWS_AS(run_stage(read_images_type(), path, {{"soft_tokens", std::int64_t{300}}}), ParamError);
}

TEST_CASE("shrink factor: how often the longer-reduced side shrinks") {
  // 280 soft tokens of 48 x 48: a 768 x 816 picture comes close to filling them.
  CHECK(shrink_factor(768, 816, 280) == Approx(1.0));
  CHECK(shrink_factor(2 * 768, 2 * 816, 280) == Approx(2.0));
  CHECK(shrink_factor(384, 408, 280) == Approx(0.5));
}
