#pragma once

#include "stages/record.h"

namespace reelfolio::stages {

/// Looks each text of an extracted value up in the unit's own text: the words of a page with a
/// text layer, the content of a text. Null where the unit has none.
///
/// Result: {JSON pointer of the text: {"grounded": true, "boxes_px": [[left, top, right, bottom]]}},
/// a box for each word that the text covers, in pixels of the unit's picture, of its first
/// occurrence; {"grounded": false} where it does not stand there. Texts of `text` units have no
/// boxes. Empty texts are left out.
///
/// Compared are characters without white space; dashes, quotes and ligatures count as their plain
/// forms, and case does not matter. An occurrence begins and ends at the border of a word: "1" does
/// not stand in "2013".
Json grounding_of(const Json& value, const Unit& unit);

}  // namespace reelfolio::stages
