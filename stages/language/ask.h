#pragma once

#include "stages/stage.h"

namespace reelfolio::stages {

/// `ask`: questions about the pictures of a unit, one request each; the requests begin with
/// the same pictures, so that the engine reads them once.
///
/// Result with `questions`: {name: {"text", "finish_reason"}, ...} in the graph's order.
/// Result with `question`: {"text", "finish_reason"}. "thinking" where it is asked for.
///
/// Questions are templates (prompt_template.h); `{question}` in the prompt stands for the
/// rendered question.
StageType ask_type();

}  // namespace reelfolio::stages
