#pragma once

#include <string_view>

#include "stages/text/text_line.h"

namespace reelfolio::stages {

/// The lines of a plain text, ended by LF, CR LF or CR. Control characters but tabs are dropped, and
/// so are empty lines beyond two in a row.
/// `markdown`: headings ("## Title", or a line underlined with === or ---) and fenced blocks
/// are recognised; the text stays as it is written.
TextLines plain_lines(std::string_view text, bool markdown);

}  // namespace reelfolio::stages
