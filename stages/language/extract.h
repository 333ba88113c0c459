#pragma once

#include "stages/stage.h"

namespace reelfolio::stages {

/// `extract`: fills in the fields of a JSON Schema from the pictures of a unit.
///
/// Result: {"value", "valid", "errors" (where not valid), "thinking" (where asked for),
/// "finish_reason"}. The value's keys stand in the schema's order. An answer that holds
/// no JSON object gives value null and the answer in "text".
///
/// `{schema}` in the prompt stands for the schema's sketch (json_schema.h).
StageType extract_type();

}  // namespace reelfolio::stages
