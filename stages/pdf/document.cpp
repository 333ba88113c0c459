#include "stages/pdf/document.h"

#include <poppler-document.h>
#include <poppler-global.h>
#include <poppler-image.h>
#include <poppler-page-renderer.h>
#include <poppler-page.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <mutex>
#include <utility>

#include "stages/error.h"
#include "stages/utf8.h"

namespace reelfolio::stages {
namespace {

constexpr double kPointsPerInch = 72;
constexpr double kMaxSide = 65500;
constexpr std::size_t kMaxTextBytes = std::size_t{1} << 20U;
constexpr std::size_t kMaxWords = 50'000;

/// First complaint of Poppler on this thread since it was last cleared.
thread_local std::string first_complaint;

void keep_complaint(const std::string& message, void*) {
  if (first_complaint.empty()) first_complaint = message;
}

std::string with_complaint(std::string message) {
  std::string detail = replace_invalid_utf8(first_complaint);
  while (!detail.empty() && (detail.back() == '\n' || detail.back() == '.')) detail.pop_back();
  truncate_utf8(detail, 200);
  if (!detail.empty()) message += " (" + detail + ")";
  return message;
}

std::map<std::filesystem::path, std::string>& kept_passwords() {
  static std::map<std::filesystem::path, std::string> kept;
  return kept;
}

void append_utf8(std::string& text, char32_t code) {
  const auto put = [&text](char32_t byte) { text += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0U | (code >> 6U));
    put(0x80U | (code & 0x3FU));
  } else if (code < 0x10000) {
    put(0xE0U | (code >> 12U));
    put(0x80U | ((code >> 6U) & 0x3FU));
    put(0x80U | (code & 0x3FU));
  } else {
    put(0xF0U | (code >> 18U));
    put(0x80U | ((code >> 12U) & 0x3FU));
    put(0x80U | ((code >> 6U) & 0x3FU));
    put(0x80U | (code & 0x3FU));
  }
}

/// UTF-16 as Poppler has it. Its own conversion gives up at a lone surrogate.
std::string utf8_of(const poppler::ustring& utf16) {
  std::string text;
  for (std::size_t i = 0; i < utf16.size() && text.size() <= kMaxTextBytes; ++i) {
    char32_t code = static_cast<std::uint16_t>(utf16[i]);
    if (code >= 0xD800 && code <= 0xDBFF && i + 1 < utf16.size()) {
      const char32_t low = static_cast<std::uint16_t>(utf16[i + 1]);
      if (low >= 0xDC00 && low <= 0xDFFF) {
        code = 0x10000 + ((code - 0xD800) << 10U) + (low - 0xDC00);
        ++i;
      }
    }
    if (code >= 0xD800 && code <= 0xDFFF) code = 0xFFFD;
    // Fonts with a broken encoding yield control characters, which say nothing.
    if ((code < 0x20 && code != '\n' && code != '\t' && code != '\f') || code == 0x7F) continue;
    append_utf8(text, code);
  }
  truncate_utf8(text, kMaxTextBytes);
  return text;
}

std::optional<std::string> text_of(const poppler::page& page) {
  std::string text = utf8_of(page.text(poppler::rectf(), poppler::page::non_raw_non_physical_layout));
  const std::size_t end = text.find_last_not_of(" \n\t\f");
  if (end == std::string::npos) return std::nullopt;
  text.resize(end + 1);
  return text;
}

/// The words of the text layer as they stand in a picture of the given resolution and size.
std::vector<PageWord> words_of(const poppler::page& page, double dpi, int width_px, int height_px) {
  const double scale = dpi / kPointsPerInch;
  const auto pixel = [](double value, int size) {
    return static_cast<int>(std::lround(std::clamp(value, 0.0, static_cast<double>(size))));
  };
  std::vector<PageWord> words;
  for (const poppler::text_box& box : page.text_list()) {
    if (words.size() == kMaxWords) break;
    PageWord word;
    word.text = utf8_of(box.text());
    std::erase_if(word.text, [](char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\f'; });
    if (word.text.empty()) continue;
    const poppler::rectf place = box.bbox();
    if (!std::isfinite(place.left() + place.top() + place.right() + place.bottom())) continue;
    word.left_px = pixel(std::floor(place.left() * scale), width_px);
    word.top_px = pixel(std::floor(place.top() * scale), height_px);
    word.right_px = pixel(std::ceil(place.right() * scale), width_px);
    word.bottom_px = pixel(std::ceil(place.bottom() * scale), height_px);
    words.push_back(std::move(word));
  }
  return words;
}

/// Resolution at which the page keeps within the bounds, at most `dpi`.
double bounded_dpi(double width_pt, double height_pt, double dpi, std::uint64_t max_pixels) {
  const double width = width_pt * dpi / kPointsPerInch;
  const double height = height_pt * dpi / kPointsPerInch;
  double factor = std::min(1.0, kMaxSide / std::max(width, height));
  // Poppler rounds each side to the nearest pixel; half a pixel a side is kept free.
  const double limit = static_cast<double>(max_pixels);
  const auto fits = [&](double f) { return (width * f + 0.5) * (height * f + 0.5) <= limit; };
  if (!fits(factor)) {
    const double sum = 0.5 * (width + height);
    const double area = width * height;
    factor = std::min(factor, (-sum + std::sqrt(sum * sum + 4 * area * (limit - 0.25))) / (2 * area));
  }
  const double shorter = std::min(width, height) * factor;
  if (factor < 1 && shorter < 0.5) {
    throw ItemError("pdf.page_too_large", "page is " + std::to_string(std::llround(width_pt)) + " x " +
                                              std::to_string(std::llround(height_pt)) +
                                              " points: no resolution shows it within " +
                                              std::to_string(max_pixels) + " pixels");
  }
  return dpi * factor;
}

engine::RgbImage to_rgb(const poppler::image& picture) {
  engine::RgbImage image;
  image.width = picture.width();
  image.height = picture.height();
  image.pixels.resize(static_cast<std::size_t>(image.width) * image.height * 3);
  for (int y = 0; y < image.height; ++y) {
    std::memcpy(image.row(y), picture.const_data() + static_cast<std::ptrdiff_t>(y) * picture.bytes_per_row(),
                static_cast<std::size_t>(image.width) * 3);
  }
  return image;
}

}  // namespace

std::string read_password(const std::filesystem::path& path) {
  if (const auto kept = kept_passwords().find(path); kept != kept_passwords().end()) return kept->second;
  std::ifstream file(path, std::ios::binary);
  std::string line;
  if (!file || !std::getline(file, line)) {
    throw ItemError("pdf.encrypted", "is encrypted, and the password file cannot be read");
  }
  if (!line.empty() && line.back() == '\r') line.pop_back();
  return line;
}

void keep_password(const std::filesystem::path& path) {
  kept_passwords()[path] = read_password(path);
}

PdfDocument::PdfDocument(const std::filesystem::path& path, const std::filesystem::path& password_file) {
  static std::once_flag silenced;
  std::call_once(silenced, [] { poppler::set_debug_error_function(keep_complaint, nullptr); });
  first_complaint.clear();
  document_.reset(poppler::document::load_from_file(path.string()));
  if (!document_) throw ItemError("pdf.damaged", with_complaint("cannot be opened as a PDF"));
  if (document_->is_locked()) {
    if (password_file.empty()) {
      throw ItemError("pdf.encrypted", "is encrypted and needs a password (--password-file)");
    }
    const std::string password = read_password(password_file);
    if (document_->unlock(password, password)) {
      throw ItemError("pdf.wrong_password", "is encrypted, and the password given does not open it");
    }
  }
  page_count_ = document_->pages();
  if (page_count_ <= 0) throw ItemError("pdf.no_pages", with_complaint("has no pages"));
}

PdfDocument::~PdfDocument() = default;

PdfDocument::Page PdfDocument::render(int index, double dpi, std::uint64_t max_pixels, bool with_text) {
  first_complaint.clear();
  const std::unique_ptr<poppler::page> page(document_->create_page(index));
  if (!page) throw ItemError("pdf.page_failed", with_complaint("page cannot be read"));
  const poppler::rectf box = page->page_rect(poppler::crop_box);
  double width_pt = std::abs(box.width());
  double height_pt = std::abs(box.height());
  if (!std::isfinite(width_pt * height_pt) || width_pt * height_pt <= 0) {
    throw ItemError("pdf.page_failed", with_complaint("page has no area"));
  }
  const poppler::page::orientation_enum orientation = page->orientation();
  if (orientation == poppler::page::landscape || orientation == poppler::page::seascape) {
    std::swap(width_pt, height_pt);
  }
  const double resolution = bounded_dpi(width_pt, height_pt, dpi, max_pixels);

  poppler::page_renderer renderer;
  renderer.set_image_format(poppler::image::format_rgb24);
  renderer.set_render_hint(poppler::page_renderer::antialiasing);
  renderer.set_render_hint(poppler::page_renderer::text_antialiasing);
  Page result;
  {
    const poppler::image picture = renderer.render_page(page.get(), resolution, resolution);
    if (!picture.is_valid() || picture.format() != poppler::image::format_rgb24) {
      throw ItemError("pdf.page_failed", with_complaint("page cannot be rendered"));
    }
    // What Poppler gives where it gets no memory is a picture of one pixel.
    const double longer_px = std::max(width_pt, height_pt) * resolution / kPointsPerInch;
    if (picture.width() == 1 && picture.height() == 1 && longer_px >= 2) {
      throw ItemError("memory.limit", "page needs more memory than there is");
    }
    result.image = to_rgb(picture);
  }
  if (with_text) result.text = text_of(*page);
  if (result.text) result.words = words_of(*page, resolution, result.image.width, result.image.height);
  return result;
}

}  // namespace reelfolio::stages
