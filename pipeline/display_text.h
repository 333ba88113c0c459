#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "stages/record.h"
#include "stages/text_width.h"

/// Texts as a terminal shows them.
namespace reelfolio::pipeline {

using stages::display_width;

/// `text` in at most `columns` columns: its end, after "…" where it is cut (the end of a path
/// tells files apart). Empty if not even that fits.
std::string shorten_to_end(std::string_view text, std::size_t columns);

/// "4 s", "3 min 20 s", "2 h 5 min". Rounded down to whole seconds.
std::string duration_text(double seconds);

/// "3 inputs", "1 input".
std::string counted(std::size_t count, std::string_view noun);

/// "inbox/a.pdf", "inbox/a.pdf, page 3", "a.mp4, scene 2": whom an error concerns. Scenes and
/// clips are counted as records count them, from 0; pages by their number. Fit for a terminal.
std::string place_text(const stages::InputFile& input, const stages::Unit* unit);

}  // namespace reelfolio::pipeline
