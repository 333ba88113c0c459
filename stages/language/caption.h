#pragma once

#include "stages/stage.h"

namespace reelfolio::stages {

/// `caption`: one description of the pictures of a unit.
/// Result: {"text", "finish_reason"}, with "thinking" where it is asked for.
StageType caption_type();

}  // namespace reelfolio::stages
