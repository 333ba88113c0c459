#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "stages/text/text_line.h"

namespace reelfolio::stages {

/// A stretch of a document that the model is given at once.
struct TextPart {
  std::string text;
  int first_line = 0;
  int last_line = 0;
  std::optional<double> start_s;  ///< of subtitles
  std::optional<double> end_s;
};

/// Divides a document into parts of at most `max_tokens` tokens each (at least 16), every one as
/// long as that and the places to cut allow. It is cut in front of a heading (the higher, the
/// rather), else at an empty line, at the end of a line, of a sentence, of a word; the best of
/// these in the second half of what fits. Parts neither begin nor end with empty lines.
///
/// count  tokens of a text; every token stands for a byte of it at least
/// use    receives the parts in order; returns false to end
void divide_text(const TextLines& lines, std::size_t max_tokens,
                 const std::function<std::size_t(std::string_view)>& count,
                 const std::function<bool(TextPart)>& use);

}  // namespace reelfolio::stages
