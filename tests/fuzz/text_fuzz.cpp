#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "engine/utf8.h"
#include "stages/error.h"
#include "stages/stage.h"
#include "stages/text/encoding.h"
#include "stages/text/html_text.h"
#include "stages/text/plain_text.h"
#include "stages/text/subtitles.h"
#include "stages/text/text_parts.h"

using namespace reelfolio;
using namespace reelfolio::stages;

namespace {

/// Parts keep to the budget, hold valid UTF-8, and come in the order of the file.
void check_parts(const TextLines& lines, std::size_t max_tokens) {
  int last_line = 0;
  divide_text(lines, max_tokens, estimated_tokens, [&](const TextPart& part) {
    if (part.text.empty() || !engine::is_valid_utf8(part.text)) std::abort();
    if (estimated_tokens(part.text) > max_tokens) std::abort();
    if (part.last_line < part.first_line || part.first_line < last_line) std::abort();
    last_line = part.last_line;
    return true;
  });
}

}  // namespace

/// A text file of unknown encoding, read as each format.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string text = decode_text(bytes).text;
  if (!engine::is_valid_utf8(text)) std::abort();
  const std::size_t max_tokens = 16 + size % 64;
  check_parts(plain_lines(text, false), max_tokens);
  check_parts(plain_lines(text, true), max_tokens);
  (void)is_html(text);
  (void)is_subtitles(text);
  try {
    check_parts(html_lines(text, {}), max_tokens);
  } catch (const ItemError&) {
  }
  divide_text(subtitle_lines(text), max_tokens, estimated_tokens, [](const TextPart& part) {
    if (!engine::is_valid_utf8(part.text)) std::abort();
    return true;
  });
  return 0;
}
