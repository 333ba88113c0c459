#pragma once

#include "stages/stage.h"

namespace reelfolio::stages {

/// `render_pages`: one unit for each selected page of a PDF, in page order, one page in
/// memory at a time. The unit's size is that of the rendered picture, which may be of a lower
/// resolution than `dpi` (max_pixels); its text is the page's own text layer.
///
/// A page that fails is an error of that page under its own number, and the rest goes on.
/// Codes: those of PdfDocument, pdf.page_range (the selection is empty), pdf.page_limit
/// (there were more pages than max_pages), input.changed.
StageType render_pages_type();

}  // namespace reelfolio::stages
