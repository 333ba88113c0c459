#pragma once

#include <functional>
#include <string_view>

#include "stages/text/text_line.h"

namespace reelfolio::stages {

/// Whether a text is HTML, by its first tag.
bool is_html(std::string_view text);

/// What a page shows, in the order of its source, through libxml2's parser, which mends what is
/// not well-formed. Headings become "## Title", list items "- item", table rows "a | b", pictures
/// "[alternative text]"; white space is folded but in <pre>. Scripts, styles, templates and what
/// carries the attribute `hidden` are left out. Entities are decoded; nothing is fetched.
///
/// html     UTF-8, whatever encoding it declares
/// stopped  asked now and then; once it returns true, Cancelled (stage.h) is thrown
///
/// Throws ItemError text.too_deep (elements nested deeper than 500 levels).
TextLines html_lines(std::string_view html, const std::function<bool()>& stopped);

}  // namespace reelfolio::stages
