#pragma once

#include "stages/stage.h"

namespace reelfolio::stages {

/// `extract`: fills in the fields of a JSON Schema from the pictures or the text of a unit.
///
/// Result of a unit: {"value", "valid", "finish_reason"}, the value's keys in the schema's order.
/// Between the last two, where there is something to say:
///   "errors"      why it is not valid
///   "text"        the answer, where it holds no JSON object; the value is null then
///   "confidence"  of each field, by JSON pointer (confidence.h)
///   "agreement"   with several samples: of each field (merge_values.h), the share that says so
///   "grounding"   where the texts stand on the page (grounding.h)
///   "thinking"    where it is kept
///
/// With `merge`, the line that closes an input has {"value", "valid", "errors"?, "evidence",
/// "conflicts"} of all units with a valid value (merge_values.h). Pages in evidence and conflicts
/// are numbers from 1 of pages and pictures in a file, indices from 0 of other units.
///
/// `{schema}` in the prompt stands for the schema's sketch (json_schema.h).
StageType extract_type();

}  // namespace reelfolio::stages
