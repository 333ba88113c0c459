#pragma once

#include <string_view>

#include "stages/text/text_line.h"

namespace reelfolio::stages {

/// Whether a text is WebVTT or SubRip, by its first lines.
bool is_subtitles(std::string_view text);

/// The cues of WebVTT or SubRip, one a line, "[0:01:02] Ann: text": the second that it begins in,
/// the speaker where WebVTT names one, and the text without markup, its lines joined. Cues
/// without text are left out; an empty line stands where nothing is said for two seconds. Notes,
/// styles and whatever else is no cue are left out too.
TextLines subtitle_lines(std::string_view text);

}  // namespace reelfolio::stages
