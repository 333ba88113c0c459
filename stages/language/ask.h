#pragma once

#include "stages/stage.h"

namespace reelfolio::stages {

/// `ask`: questions about the pictures, the sound or the text of a unit, one request each (and sample);
/// the requests begin with the same pictures and sounds, so that the engine reads them once.
///
/// Result with `questions`: {name: {"text", "finish_reason"}, ...} in the graph's order.
/// Result with `question`: {"text", "finish_reason"}. Where they are asked for, between the
/// two: "value" (of a number or boolean), "votes" ([{"text", "count"}], the most frequent first),
/// "confidence", "thinking".
///
/// Questions are templates (prompt_template.h); `{question}` in the prompt stands for the
/// rendered question, `{form}` for a sentence about the type of the answer.
StageType ask_type();

}  // namespace reelfolio::stages
