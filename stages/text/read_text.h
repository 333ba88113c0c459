#pragma once

#include "stages/stage.h"

namespace reelfolio::stages {

/// `read_text`: plain text, Markdown, HTML and subtitles (WebVTT, SubRip) of any common encoding,
/// in parts of at most `part_tokens` tokens; a unit of kind `text` each, with the lines of the
/// file that it covers and, of subtitles, the times.
///
/// Codes: text.empty (nothing but white space and markup), text.too_large, text.too_deep,
/// text.part_limit (there were more parts than max_parts), input.changed.
StageType read_text_type();

}  // namespace reelfolio::stages
