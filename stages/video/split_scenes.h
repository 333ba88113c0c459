#pragma once

#include "stages/stage.h"

namespace reelfolio::stages {

/// Cuts a video into scenes that tile it, each emitted as soon as its end is known. A video that is
/// truncated or damaged gives the scenes it has and an error ("video.truncated", "video.corrupt");
/// one without a frame is "video.no_frames"; see VideoReader for what else can be wrong.
StageType split_scenes_type();

}  // namespace reelfolio::stages
