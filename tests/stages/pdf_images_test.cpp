#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "stages/pdf/render_pages.h"
#include "tests/stages/media_fixture.h"
#include "tests/support/catch.h"

extern "C" {
#include <libavcodec/avcodec.h>
}

using namespace reelfolio::stages;

namespace {

/// Objects from 1 on; the first is the catalog.
std::string pdf_of(const std::vector<std::string>& objects) {
  std::string file = "%PDF-1.5\n";
  std::string table = "0000000000 65535 f \n";
  for (std::size_t i = 0; i < objects.size(); ++i) {
    char entry[24];
    std::snprintf(entry, sizeof(entry), "%010zu 00000 n \n", file.size());
    table += entry;
    file += std::to_string(i + 1) + " 0 obj\n" + objects[i] + "\nendobj\n";
  }
  const std::string size = std::to_string(objects.size() + 1);
  return file + "xref\n0 " + size + "\n" + table + "trailer\n<< /Size " + size +
         " /Root 1 0 R >>\nstartxref\n" + std::to_string(file.size()) + "\n%%EOF\n";
}

std::string stream(const std::string& dictionary, const std::string& data) {
  return "<< " + dictionary + " /Length " + std::to_string(data.size()) + " >>\nstream\n" + data +
         "\nendstream";
}

/// A page of 100 x 100 points that one image of 8 x 8 pixels covers but for a border of 20 points.
std::string page_with_image(const std::string& dictionary, const std::string& data) {
  return pdf_of({"<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
                 "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 100 100] /Resources << /XObject << /I 5 0 R >> "
                 ">> /Contents 4 0 R >>",
                 stream("", "q 60 0 0 60 20 20 cm /I Do Q"),
                 stream("/Type /XObject /Subtype /Image /Width 8 /Height 8 " + dictionary, data)});
}

Collector render_picture_page(const std::string& pdf,
                              const std::vector<std::pair<std::string, ParamValue>>& params = {}) {
  const MediaFolder folder;
  return run_stage(render_pages_type(), folder.write("input.pdf", pdf), params);
}

/// Checks the middle of the page, and that its border is white.
void check_middle(const std::string& pdf, int r, int g, int b, int tolerance) {
  const Collector out = render_picture_page(pdf);
  CHECK(out.errors.empty());
  REQUIRE(out.items.size() == 1);
  const auto& image = *out.items[0].pictures[0].image;
  const std::uint8_t* middle = image.row(image.height / 2) + 3 * (image.width / 2);
  INFO(int{middle[0]} << ' ' << int{middle[1]} << ' ' << int{middle[2]});
  CHECK(std::abs(middle[0] - r) <= tolerance);
  CHECK(std::abs(middle[1] - g) <= tolerance);
  CHECK(std::abs(middle[2] - b) <= tolerance);
  const std::uint8_t* border = image.row(4);
  CHECK((border[0] == 255 && border[1] == 255 && border[2] == 255));
}

std::string big_endian(std::uint32_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(value >> (8 * i) & 255U);
  return text;
}

/// A segment of page 1 that refers to no other (ITU-T T.88, 7.2).
std::string jbig2_segment(std::uint32_t index, int type, const std::string& data) {
  return big_endian(index, 4) + big_endian(static_cast<std::uint32_t>(type), 1) + big_endian(0, 1) +
         big_endian(1, 1) + big_endian(static_cast<std::uint32_t>(data.size()), 4) + data;
}

/// 8 x 8 black pixels: page information, then a generic region coded as MMR.
std::string black_jbig2() {
  // Horizontal mode, white run 0, black run 8; seven lines that are as the one above; end of block.
  const std::string bits =
      "001"
      "00110101"
      "000101"
      "11111111111111"
      "000000000001"
      "000000000001";
  std::string mmr;
  for (std::size_t i = 0; i < bits.size(); i += 8) {
    unsigned byte = 0;
    for (std::size_t k = 0; k < 8; ++k) byte = byte * 2 + (i + k < bits.size() && bits[i + k] == '1' ? 1 : 0);
    mmr += static_cast<char>(byte);
  }
  const std::string size = big_endian(8, 4) + big_endian(8, 4);
  const std::string page = size + big_endian(0, 4) + big_endian(0, 4) + big_endian(0, 1) + big_endian(0, 2);
  const std::string region =
      size + big_endian(0, 4) + big_endian(0, 4) + big_endian(0, 1) + big_endian(1, 1) + mmr;
  return jbig2_segment(0, 48, page) + jbig2_segment(1, 38, region);
}

/// 8 x 8 pixels of one colour.
std::string jpeg2000(int r, int g, int b) {
  const AVCodec* codec = avcodec_find_encoder(AV_CODEC_ID_JPEG2000);
  if (codec == nullptr) throw std::runtime_error("no JPEG 2000 encoder");
  AVCodecContext* context = avcodec_alloc_context3(codec);
  context->width = 8;
  context->height = 8;
  context->pix_fmt = AV_PIX_FMT_RGB24;
  context->time_base = {1, 1};
  if (avcodec_open2(context, codec, nullptr) < 0) throw std::runtime_error("cannot encode JPEG 2000");
  AVFrame* frame = av_frame_alloc();
  frame->format = AV_PIX_FMT_RGB24;
  frame->width = 8;
  frame->height = 8;
  av_frame_get_buffer(frame, 0);
  for (int y = 0; y < 8; ++y) {
    for (int x = 0; x < 8; ++x) {
      std::uint8_t* pixel = frame->data[0] + y * frame->linesize[0] + 3 * x;
      pixel[0] = static_cast<std::uint8_t>(r);
      pixel[1] = static_cast<std::uint8_t>(g);
      pixel[2] = static_cast<std::uint8_t>(b);
    }
  }
  frame->pts = 0;
  AVPacket* packet = av_packet_alloc();
  avcodec_send_frame(context, frame);
  avcodec_send_frame(context, nullptr);
  std::string bytes;
  if (avcodec_receive_packet(context, packet) == 0) {
    bytes.assign(reinterpret_cast<const char*>(packet->data), static_cast<std::size_t>(packet->size));
  }
  av_packet_free(&packet);
  av_frame_free(&frame);
  avcodec_free_context(&context);
  return bytes;
}

std::string repeated(const std::string& pixel) {
  std::string all;
  for (int i = 0; i < 64; ++i) all += pixel;
  return all;
}

}  // namespace

TEST_CASE("render_pages: images in CMYK") {
  const std::string pixel("\x00\xff\xff\x00", 4);
  check_middle(page_with_image("/ColorSpace /DeviceCMYK /BitsPerComponent 8", repeated(pixel)), 237, 28, 36,
               24);
}

TEST_CASE("render_pages: images in JBIG2") {
  check_middle(
      page_with_image("/ColorSpace /DeviceGray /BitsPerComponent 1 /Filter /JBIG2Decode", black_jbig2()), 0,
      0, 0, 0);
}

TEST_CASE("render_pages: images in JPEG 2000") {
  check_middle(
      page_with_image("/ColorSpace /DeviceRGB /BitsPerComponent 8 /Filter /JPXDecode", jpeg2000(20, 180, 90)),
      20, 180, 90, 6);
}

TEST_CASE("render_pages: damaged images cost themselves, not the page") {
  const std::string good = black_jbig2();
  for (const char* filter :
       {"JBIG2Decode", "JPXDecode", "DCTDecode", "FlateDecode", "CCITTFaxDecode", "LZWDecode"}) {
    for (const std::string& data :
         {std::string("nonsense"), good.substr(0, good.size() / 2), std::string()}) {
      INFO(filter);
      const Collector out = render_picture_page(page_with_image(
          "/ColorSpace /DeviceGray /BitsPerComponent 1 /Filter /" + std::string(filter), data));
      CHECK(out.items.size() == 1);
    }
  }
}

TEST_CASE("render_pages: a font that is not there is replaced, and its text is kept") {
  const Collector out = render_picture_page(pdf_of(
      {"<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
       "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 100] /Resources << /Font << /F 5 0 R >> >> /Contents "
       "4 0 R "
       ">>",
       stream("", "BT /F 24 Tf 20 40 Td (Invoice 42) Tj ET"),
       "<< /Type /Font /Subtype /TrueType /BaseFont /ABCDEF+NoSuchFont-Bold /Encoding /WinAnsiEncoding >>"}));
  CHECK(out.errors.empty());
  REQUIRE(out.items.size() == 1);
  CHECK(out.items[0].unit->text == "Invoice 42");
}

TEST_CASE("render_pages: of thousands of pages those asked for are rendered, up to the limit") {
  constexpr int kPages = 5000;
  std::string kids;
  std::vector<std::string> objects = {"<< /Type /Catalog /Pages 2 0 R >>", ""};
  for (int i = 0; i < kPages; ++i) {
    kids += std::to_string(i + 3) + " 0 R ";
    objects.push_back("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 " + std::to_string(i + 10) + " 10] >>");
  }
  objects[1] = "<< /Type /Pages /Kids [" + kids + "] /Count " + std::to_string(kPages) + " >>";
  const std::string pdf = pdf_of(objects);
  const Collector last = render_picture_page(pdf, {{"pages", std::string("4999-")}, {"dpi", 72.0}});
  REQUIRE(last.items.size() == 2);
  CHECK(last.items[1].unit->number == 5000);
  CHECK(last.items[1].unit->width_px == 5009);
  CHECK(last.errors.empty());
  const Collector some = render_picture_page(pdf, {{"max_pages", std::int64_t{3}}, {"dpi", 72.0}});
  CHECK(some.items.size() == 3);
  CHECK(some.errors == std::vector<std::pair<std::string, int>>{{"pdf.page_limit", 0}});
}
