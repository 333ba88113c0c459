#include "stages/image/signature.h"

#include <cstdint>

namespace reelfolio::stages {
namespace {

bool starts_with(std::string_view head, std::string_view magic, std::size_t at = 0) {
  return head.size() >= at + magic.size() && head.substr(at, magic.size()) == magic;
}

bool is_pnm_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// "P1".."P6", then width and height, between them white space and # comments.
bool is_pnm(std::string_view head) {
  if (head.size() < 3 || head[0] != 'P' || head[1] < '1' || head[1] > '6') return false;
  std::size_t at = 2;
  for (int number = 0; number < 2; ++number) {
    const std::size_t gap = at;
    while (at < head.size() && (is_pnm_space(head[at]) || head[at] == '#')) {
      if (head[at] == '#') {
        while (at < head.size() && head[at] != '\n') ++at;
      } else {
        ++at;
      }
    }
    const std::size_t digits = at;
    while (at < head.size() && is_digit(head[at])) ++at;
    if (digits == gap || at == digits) return false;
  }
  return at < head.size() && (is_pnm_space(head[at]) || head[at] == '#');
}

/// "BM" alone is too little: the size of the second header must be one that exists.
bool is_bmp(std::string_view head) {
  if (!starts_with(head, "BM") || head.size() < 18) return false;
  std::uint32_t header_bytes = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    header_bytes |= std::uint32_t{static_cast<std::uint8_t>(head[14 + i])} << (8 * i);
  }
  return header_bytes == 12 || (header_bytes >= 16 && header_bytes <= 124);
}

}  // namespace

PictureFormat picture_format(std::string_view head) {
  using std::string_view_literals::operator""sv;
  if (starts_with(head, "\x89PNG\r\n\x1A\n"sv)) return PictureFormat::png;
  if (starts_with(head, "\xFF\xD8\xFF"sv)) return PictureFormat::jpeg;
  if (starts_with(head, "RIFF"sv) && starts_with(head, "WEBP"sv, 8)) return PictureFormat::webp;
  // 42 is classic TIFF, 43 BigTIFF.
  if (starts_with(head, "II*\0"sv) || starts_with(head, "MM\0*"sv) || starts_with(head, "II+\0"sv) ||
      starts_with(head, "MM\0+"sv)) {
    return PictureFormat::tiff;
  }
  if (starts_with(head, "GIF87a"sv) || starts_with(head, "GIF89a"sv)) return PictureFormat::gif;
  if (is_bmp(head)) return PictureFormat::bmp;
  if (is_pnm(head)) return PictureFormat::pnm;
  return PictureFormat::unknown;
}

}  // namespace reelfolio::stages
