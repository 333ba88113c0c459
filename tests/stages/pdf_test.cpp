#include <algorithm>
#include <cstdio>
#include <thread>

#include "stages/page_ranges.h"
#include "stages/pdf/document.h"
#include "stages/pdf/render_pages.h"
#include "tests/stages/media_fixture.h"
#include "tests/support/catch.h"

using namespace reelfolio;
using namespace reelfolio::stages;

namespace {

struct PdfPage {
  std::string boxes = "/MediaBox [0 0 200 100]";
  std::string content;
};

/// Red in the upper left corner, green in the lower right one, of a 200 x 100 page.
constexpr const char* kCorners = "1 0 0 rg 0 50 100 50 re f 0 1 0 rg 100 0 100 50 re f";

std::string words(const std::string& text) {
  return "BT /F1 12 Tf 20 40 Td (" + text + ") Tj ET";
}

/// Objects 1 (catalog), 2 (page tree), 3 (font), then a page and its content each.
std::string pdf_file(const std::vector<PdfPage>& pages) {
  std::vector<std::string> objects;
  std::string kids;
  for (std::size_t i = 0; i < pages.size(); ++i) kids += std::to_string(4 + 2 * i) + " 0 R ";
  objects.push_back("<< /Type /Catalog /Pages 2 0 R >>");
  objects.push_back("<< /Type /Pages /Kids [" + kids + "] /Count " + std::to_string(pages.size()) + " >>");
  objects.push_back("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>");
  for (const PdfPage& page : pages) {
    objects.push_back("<< /Type /Page /Parent 2 0 R " + page.boxes +
                      " /Resources << /Font << /F1 3 0 R >> >> /Contents " +
                      std::to_string(objects.size() + 2) + " 0 R >>");
    objects.push_back("<< /Length " + std::to_string(page.content.size()) + " >>\nstream\n" + page.content +
                      "\nendstream");
  }
  std::string file = "%PDF-1.4\n";
  std::string table = "0000000000 65535 f \n";
  for (std::size_t i = 0; i < objects.size(); ++i) {
    char entry[24];
    std::snprintf(entry, sizeof(entry), "%010zu 00000 n \n", file.size());
    table += entry;
    file += std::to_string(i + 1) + " 0 obj\n" + objects[i] + "\nendobj\n";
  }
  const std::size_t start = file.size();
  return file + "xref\n0 " + std::to_string(objects.size() + 1) + "\n" + table + "trailer\n<< /Size " +
         std::to_string(objects.size() + 1) + " /Root 1 0 R >>\nstartxref\n" + std::to_string(start) +
         "\n%%EOF\n";
}

Collector render(const std::string& bytes,
                 const std::vector<std::pair<std::string, ParamValue>>& params = {}) {
  const MediaFolder folder;
  return run_stage(render_pages_type(), folder.write("input.pdf", bytes), params);
}

std::string render_code(const std::string& bytes) {
  return error_code([&] { render(bytes); });
}

std::vector<int> numbers(const Collector& out) {
  std::vector<int> result;
  for (const Item& item : out.items) result.push_back(item.unit->number);
  return result;
}

/// Colour at a place given as a share of width and height.
std::vector<int> colour(const engine::RgbImage& image, double x, double y) {
  const std::uint8_t* pixel =
      image.row(static_cast<int>(y * image.height)) + 3 * static_cast<int>(x * image.width);
  return {pixel[0], pixel[1], pixel[2]};
}

const std::vector<int> kRed = {255, 0, 0};
const std::vector<int> kGreen = {0, 255, 0};
const std::vector<int> kWhite = {255, 255, 255};

std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(REELFOLIO_SOURCE_DIR) / "tests/golden/pdf_encrypted" / name;
}

}  // namespace

TEST_CASE("render_pages: size, colours, text and identity of a page") {
  const Collector out =
      render(pdf_file({{"/MediaBox [0 0 200 100]", std::string(kCorners) + " 0 g " + words("Total 42")}}),
             {{"dpi", 144.0}});
  REQUIRE(out.items.size() == 1);
  CHECK(out.errors.empty());
  const Item& item = out.items[0];
  CHECK(item.unit->kind == UnitKind::page);
  CHECK(item.unit->producer == "made");
  CHECK(item.unit->index == 0);
  CHECK(item.unit->number == 1);
  CHECK(item.unit->width_px == 400);
  CHECK(item.unit->height_px == 200);
  CHECK(item.unit->text == "Total 42");
  REQUIRE(item.pictures.size() == 1);
  CHECK(item.pictures[0].soft_tokens == 1120);
  const engine::RgbImage& image = *item.pictures[0].image;
  REQUIRE(image.width == 400);
  REQUIRE(image.height == 200);
  CHECK(colour(image, 0.1, 0.1) == kRed);
  CHECK(colour(image, 0.9, 0.9) == kGreen);
  CHECK(colour(image, 0.9, 0.1) == kWhite);
  CHECK(colour(image, 0.05, 0.9) == kWhite);
}

TEST_CASE("render_pages: a page without text has none, text may be switched off") {
  CHECK(!render(pdf_file({{"/MediaBox [0 0 200 100]", kCorners}})).items.at(0).unit->text);
  CHECK(!render(pdf_file({{"/MediaBox [0 0 200 100]", words("   ")}})).items.at(0).unit->text);
  const std::string file = pdf_file({{"/MediaBox [0 0 200 100]", words("words")}});
  CHECK(render(file).items.at(0).unit->text == "words");
  CHECK(!render(file, {{"text", false}}).items.at(0).unit->text);
}

TEST_CASE("render_pages: text is UTF-8, in reading order") {
  // \374 is u with diaeresis in the standard encoding of PDF text (WinAnsi here); the
  // second line of the page stands first in the file.
  const std::string content = "BT /F1 12 Tf 20 20 Td (below) Tj ET BT /F1 12 Tf 20 80 Td (above) Tj ET";
  CHECK(render(pdf_file({{"/MediaBox [0 0 200 100]", content}})).items.at(0).unit->text == "above\n\nbelow");
  std::string file = pdf_file({{"/MediaBox [0 0 200 100]", words("Gr\\374n")}});
  const std::string font = "/BaseFont /Helvetica";
  file.replace(file.find(font), font.size(),
               font + " /Encoding /WinAnsiEncoding");  // Poppler rebuilds the table
  CHECK(render(file).items.at(0).unit->text == "Gr\xC3\xBCn");
}

TEST_CASE("render_pages: the page's rotation is honoured") {
  const auto rotated = [](int degrees) {
    return *render(pdf_file({{"/MediaBox [0 0 200 100] /Rotate " + std::to_string(degrees), kCorners}}),
                   {{"dpi", 72.0}})
                .items.at(0)
                .pictures.at(0)
                .image;
  };
  const engine::RgbImage quarter = rotated(90);  // clockwise: upper left goes to the upper right
  CHECK(quarter.width == 100);
  CHECK(quarter.height == 200);
  CHECK(colour(quarter, 0.9, 0.1) == kRed);
  CHECK(colour(quarter, 0.1, 0.9) == kGreen);
  const engine::RgbImage half = rotated(180);
  CHECK(half.width == 200);
  CHECK(colour(half, 0.9, 0.9) == kRed);
  CHECK(colour(half, 0.1, 0.1) == kGreen);
  const engine::RgbImage three_quarters = rotated(270);
  CHECK(three_quarters.width == 100);
  CHECK(colour(three_quarters, 0.1, 0.9) == kRed);
}

TEST_CASE("render_pages: words stand where the picture shows them, turned and cropped pages too") {
  for (const char* boxes : {"/MediaBox [0 0 200 100]", "/MediaBox [0 0 200 100] /Rotate 90",
                            "/MediaBox [0 0 200 100] /Rotate 180", "/MediaBox [0 0 200 100] /Rotate 270",
                            "/MediaBox [0 0 200 100] /CropBox [10 30 150 90]"}) {
    CAPTURE(boxes);
    const Collector out = render(pdf_file({{boxes, words("Total HHHH")}}), {{"dpi", 144.0}});
    const Item& item = out.items.at(0);
    REQUIRE(item.unit->words.size() == 2);
    CHECK(item.unit->words[0].text == "Total");
    const PageWord& word = item.unit->words[1];
    CHECK(word.text == "HHHH");
    const engine::RgbImage& image = *item.pictures.at(0).image;
    int inside = 0;
    for (int y = word.top_px; y < word.bottom_px; ++y) {
      for (int x = word.left_px; x < word.right_px; ++x) inside += image.row(y)[3 * x] < 128;
    }
    // Four letters of 17 pixels in height, two strokes of about two pixels each.
    CHECK(inside > 4 * 17 * 2);
    int outside = 0;
    for (int y = 0; y < image.height; ++y) {
      for (int x = 0; x < image.width; ++x) {
        const bool in_a_word = std::ranges::any_of(item.unit->words, [&](const PageWord& each) {
          return x >= each.left_px && x < each.right_px && y >= each.top_px && y < each.bottom_px;
        });
        outside += !in_a_word && image.row(y)[3 * x] < 128;
      }
    }
    CHECK(outside == 0);
  }
}

TEST_CASE("render_pages: the crop box is what is shown") {
  const Collector out =
      render(pdf_file({{"/MediaBox [0 0 200 100] /CropBox [0 50 100 100]", kCorners}}), {{"dpi", 72.0}});
  const engine::RgbImage& image = *out.items.at(0).pictures.at(0).image;
  CHECK(image.width == 100);
  CHECK(image.height == 50);
  CHECK(colour(image, 0.05, 0.05) == kRed);
  CHECK(colour(image, 0.95, 0.95) == kRed);
}

TEST_CASE("render_pages: pages and exclusions by number") {
  std::vector<PdfPage> pages;
  for (int i = 1; i <= 7; ++i)
    pages.push_back({"/MediaBox [0 0 200 100]", words("page " + std::to_string(i))});
  const std::string file = pdf_file(pages);
  const auto chosen = [&](const std::string& include, const std::string& exclude = "") {
    std::vector<std::pair<std::string, ParamValue>> params = {{"pages", include}, {"dpi", 10.0}};
    if (!exclude.empty()) params.emplace_back("exclude", exclude);
    const Collector out = render(file, params);
    for (const Item& item : out.items) {
      CHECK(item.unit->index == item.unit->number - 1);
      CHECK(item.unit->text == "page " + std::to_string(item.unit->number));
    }
    return numbers(out);
  };
  CHECK(chosen("1-") == std::vector<int>{1, 2, 3, 4, 5, 6, 7});
  CHECK(chosen("1,3,5-") == std::vector<int>{1, 3, 5, 6, 7});
  CHECK(chosen("-2") == std::vector<int>{1, 2});
  CHECK(chosen(" 6 - last , 2 ") == std::vector<int>{2, 6, 7});
  CHECK(chosen("last") == std::vector<int>{7});
  CHECK(chosen("5-90") == std::vector<int>{5, 6, 7});
  CHECK(chosen("1-", "2-6") == std::vector<int>{1, 7});
  CHECK(error_code([&] { chosen("8-"); }) == "pdf.page_range");
  CHECK(error_code([&] { chosen("3", "-4"); }) == "pdf.page_range");

  const Collector limited = render(file, {{"max_pages", std::int64_t{2}}, {"dpi", 10.0}});
  CHECK(numbers(limited) == std::vector<int>{1, 2});
  CHECK(limited.errors == std::vector<std::pair<std::string, int>>{{"pdf.page_limit", 0}});
}

TEST_CASE("page ranges: what is none names the parameter") {
  for (const std::string text :
       {"", "0", "a", "1-2-3", "5-2", "last-3", "1,,2", "-", "--1", "1.5", "99999999999"}) {
    INFO("'" << text << "'");
    try {
      PageRanges::parse("exclude", text);
      FAIL("accepted");
    } catch (const ParamError& error) {
      CHECK(error.param() == "exclude");
    }
  }
}

TEST_CASE("render_pages: a page the size of a house is rendered smaller, not refused") {
  const Collector out =
      render(pdf_file({{"/MediaBox [0 0 2000000 1000000]", "1 0 0 rg 0 0 2000000 1000000 re f"}}),
             {{"max_pixels", std::int64_t{100000}}});
  REQUIRE(out.items.size() == 1);
  const Unit& unit = *out.items[0].unit;
  CHECK(unit.width_px * unit.height_px <= 100000);
  CHECK(unit.width_px * unit.height_px >= 98000);
  CHECK(unit.width_px == Approx(2 * unit.height_px).margin(2));
  CHECK(colour(*out.items[0].pictures[0].image, 0.5, 0.5) == kRed);
}

TEST_CASE("render_pages: bounded pages never exceed max_pixels") {
  for (const std::string size : {"200 100", "100 200", "333 777", "14400 1", "3 14400"}) {
    for (const std::int64_t limit : {std::int64_t{20}, std::int64_t{1000}, std::int64_t{12345}}) {
      const Collector out = render(pdf_file({{"/MediaBox [0 0 " + size + "]", ""}}), {{"max_pixels", limit}});
      INFO(size << " in " << limit);
      for (const Item& item : out.items)
        CHECK(std::int64_t{item.unit->width_px} * item.unit->height_px <= limit);
      for (const auto& error : out.errors) CHECK(error.first == "pdf.page_too_large");
      CHECK(out.items.size() + out.errors.size() == 1);
    }
  }
}

TEST_CASE("render_pages: a tiny page has at least a pixel") {
  const Collector out = render(pdf_file({{"/MediaBox [0 0 0.1 0.1]", ""}}), {{"dpi", 72.0}});
  REQUIRE(out.items.size() == 1);
  CHECK(out.items[0].unit->width_px == 1);
  CHECK(out.items[0].unit->height_px == 1);
}

TEST_CASE("render_pages: a page that no resolution can show fails alone and keeps its number") {
  const Collector out = render(pdf_file({{"/MediaBox [0 0 200 100]", ""},
                                         {"/MediaBox [0 0 1000000000 0.01]", ""},
                                         {"/MediaBox [0 0 200 100]", ""}}),
                               {{"dpi", 72.0}});
  CHECK(numbers(out) == std::vector<int>{1, 3});
  CHECK(out.errors == std::vector<std::pair<std::string, int>>{{"pdf.page_too_large", 2}});
}

TEST_CASE("render_pages: a page that the tree announces but lacks is reported") {
  std::string file = pdf_file({{"/MediaBox [0 0 200 100]", words("one")},
                               {"/MediaBox [0 0 200 100]", words("two")},
                               {"/MediaBox [0 0 200 100]", words("three")}});
  file.replace(file.find("6 0 R"), 5, "6 7 R");
  // Poppler closes the gap, so that the third page becomes the second.
  const Collector out = render(file, {{"dpi", 20.0}});
  CHECK(numbers(out) == std::vector<int>{1, 2});
  CHECK(out.errors == std::vector<std::pair<std::string, int>>{{"pdf.page_failed", 3}});
}

TEST_CASE("render_pages: a damaged cross-reference table is rebuilt") {
  std::string file = pdf_file({{"/MediaBox [0 0 200 100]", words("found again")}});
  const std::size_t table = file.find("xref\n");
  file.replace(table, file.rfind("trailer") - table, "xref\n0 1\nrubbish\n");
  CHECK(render(file).items.at(0).unit->text == "found again");
  file.erase(table);
  CHECK(render_code(file) == "pdf.damaged");  // no trailer, so nothing names the catalog
}

TEST_CASE("render_pages: what is no PDF inside, or has no pages, is named") {
  CHECK(render_code("%PDF-1.4\nnothing here\n") == "pdf.damaged");
  CHECK(render_code(pdf_file({})) == "pdf.no_pages");
  CHECK(render_code(std::string(500, 'x')) == "pdf.damaged");
}

TEST_CASE("render_pages: a page count of two thousand million is not believed") {
  std::string file = pdf_file({{"/MediaBox [0 0 200 100]", ""}});
  file.replace(file.find("/Count 1"), 8, "/Count 2147483647");
  Collector out;
  const std::string code = error_code([&] { out = render(file, {{"max_pages", std::int64_t{50}}}); });
  CHECK(out.items.size() <= 1);
  CHECK((code.empty() || code == "pdf.no_pages" || code == "pdf.damaged"));
}

TEST_CASE("render_pages: encrypted files open with either password, or say which one is needed") {
  const MediaFolder folder;
  const StageType type = render_pages_type();
  const auto text = [&](const std::string& file, const std::filesystem::path& password) {
    return run_stage(type, golden(file), {}, password).items.at(0).unit->text.value_or("");
  };
  const auto user = folder.write("user", "user secret\nsecond line\n");
  const auto owner = folder.write("owner", "owner secret\r\n");
  const auto wrong = folder.write("wrong", "user secret \n");
  for (const std::string file : {"user_aes256.pdf", "user_rc4.pdf"}) {
    INFO(file);
    CHECK(text(file, user) == "for your eyes");
    CHECK(text(file, owner) == "for your eyes");
    CHECK(error_code([&] { text(file, wrong); }) == "pdf.wrong_password");
    CHECK(error_code([&] { text(file, ""); }) == "pdf.encrypted");
    CHECK(error_code([&] { text(file, folder.path("missing")); }) == "pdf.encrypted");
  }
  // Only printing and copying are locked: readers open it, and so does this one.
  CHECK(text("owner_only.pdf", "") == "for your eyes");
  CHECK(text("owner_only.pdf", wrong) == "for your eyes");
}

TEST_CASE("render_pages: no message shows the password") {
  const MediaFolder folder;
  const auto wrong = folder.write("wrong", "hunter2\n");
  try {
    run_stage(render_pages_type(), golden("user_aes256.pdf"), {}, wrong);
    FAIL("opened");
  } catch (const ItemError& error) {
    CHECK(std::string(error.what()).find("hunter2") == std::string::npos);
  }
}

TEST_CASE("render_pages: workers in two threads give the same pages") {
  const MediaFolder folder;
  std::vector<PdfPage> pages;
  for (int i = 0; i < 20; ++i)
    pages.push_back({"/MediaBox [0 0 200 100]", std::string(kCorners) + " 0 g " + words(std::to_string(i))});
  const auto path = folder.write("p.pdf", pdf_file(pages));
  Collector out[2];
  std::thread first([&] { out[0] = run_stage(render_pages_type(), path); });
  std::thread second([&] { out[1] = run_stage(render_pages_type(), path); });
  first.join();
  second.join();
  REQUIRE(out[0].items.size() == 20);
  REQUIRE(out[1].items.size() == 20);
  for (std::size_t i = 0; i < 20; ++i) {
    CHECK(out[0].items[i].unit->text == std::to_string(i));
    CHECK(out[0].items[i].pictures[0].image->pixels == out[1].items[i].pictures[0].image->pixels);
  }
}

TEST_CASE("render_pages: cut or with bits flipped, a PDF gives pages or errors") {
  const MediaFolder folder;
  const std::string file =
      pdf_file({{"/MediaBox [0 0 200 100]", kCorners}, {"/MediaBox [0 0 200 100]", words("two")}});
  const auto outcome = [&](const std::string& bytes) {
    const auto path = folder.write("damaged.pdf", bytes);
    return error_code([&] {
      run_stage(render_pages_type(), path,
                {{"dpi", 20.0}, {"max_pixels", std::int64_t{100000}}, {"max_pages", std::int64_t{5}}});
    });
  };
  for (std::size_t sixteenth = 1; sixteenth < 16; ++sixteenth) {
    const std::string code = outcome(file.substr(0, file.size() * sixteenth / 16));
    INFO(sixteenth << "/16: " << code);
    CHECK((code.empty() || code.rfind("pdf.", 0) == 0));
  }
  Sequence random(11);
  for (int round = 0; round < 300; ++round) {
    std::string damaged = file;
    for (std::uint32_t i = 0; i <= random.next(5); ++i) {
      const std::uint32_t at = random.next(static_cast<std::uint32_t>(file.size()));
      damaged[at] = static_cast<char>(damaged[at] ^ static_cast<char>(1U << random.next(8)));
    }
    const std::string code = outcome(damaged);
    INFO("round " << round << ": " << code);
    CHECK((code.empty() || code.rfind("pdf.", 0) == 0));
  }
}
