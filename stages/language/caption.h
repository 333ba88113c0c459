#pragma once

#include "stages/stage.h"

namespace reelfolio::stages {

/// `caption`: one description of the pictures and the sound of a unit, in one prompt.
/// Result: {"text", "finish_reason"}, with "thinking" where it is asked for.
StageType caption_type();

}  // namespace reelfolio::stages
