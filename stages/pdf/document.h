#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/rgb_image.h"
#include "stages/item.h"

namespace poppler {
class document;
class page;
}  // namespace poppler

namespace reelfolio::stages {

/// The first line of `path` without its end (LF or CRLF). Throws ItemError pdf.encrypted:
/// it is read when an encrypted PDF needs it.
std::string read_password(const std::filesystem::path& path);
/// Reads it now; from then on read_password(path) gives that, here and in processes forked later, which
/// need not be able to open it. For a pipe, too, that can be read once. Throws as read_password.
/// Before threads use either.
void keep_password(const std::filesystem::path& path);

/// One opened PDF, through Poppler. Owns the document; one thread at a time, and threads may
/// have documents of their own at once.
///
/// Poppler has one error function for the process. The first PdfDocument sets it to one that
/// prints nothing and keeps the words for the messages of the thread that caused them.
class PdfDocument {
 public:
  /// `password_file` (may be empty) is opened for an encrypted file only; its password is tried
  /// as the owner's and as the user's. A damaged cross-reference table is rebuilt if it can be.
  /// Throws ItemError: pdf.encrypted (and no password given), pdf.wrong_password, pdf.damaged,
  /// pdf.no_pages.
  PdfDocument(const std::filesystem::path& path, const std::filesystem::path& password_file);
  ~PdfDocument();
  PdfDocument(const PdfDocument&) = delete;
  PdfDocument& operator=(const PdfDocument&) = delete;

  int page_count() const { return page_count_; }

  struct Page {
    engine::RgbImage image;
    std::optional<std::string> text;
    std::vector<PageWord> words;
  };

  /// Renders the crop box of page `index` (from 0), turned by the page's own rotation,
  /// with its annotations, on white, at `dpi` or the highest resolution below it at which the
  /// picture has at most `max_pixels` pixels and no side above 65,500.
  ///
  /// with_text  also takes the page's text layer in reading order, as UTF-8, at most
  ///            1 MiB of it; none if there is no text but white space. With the text come its
  ///            words, at most 50,000, in pixels of the picture.
  /// Throws ItemError: pdf.page_failed, pdf.page_too_large (a side would vanish), memory.limit.
  Page render(int index, double dpi, std::uint64_t max_pixels, bool with_text);

 private:
  std::unique_ptr<poppler::document> document_;
  int page_count_ = 0;
};

}  // namespace reelfolio::stages
