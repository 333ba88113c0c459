#pragma once

#include "stages/stage.h"

namespace reelfolio::stages {

/// `split_audio`: the sound of a file, in clips that the model can hear (30 s at most), cut at quiet places.
///
/// Of a sound file or a video the clips are units of their own. A video without a sound track gives one clip
/// that spans it and says `no_track`. To a scene, with frames or without, its own sound is attached, from its
/// start to its end: clips begin anew with each scene. A scene without frames is handed on once
/// for each clip (once with an empty list if nothing sounds in it), so that no more than one is held; one
/// with frames once, with its first `max_heard` seconds; that more is left out is an error of the scene,
/// "audio.left_out".
///
/// Errors: those of AudioReader, and "audio.no_samples" for a file whose track holds nothing. For scenes an
/// error that concerns the file is reported once; scenes with frames are then handed on with
/// nothing to hear, others are not.
StageType split_audio_type();

}  // namespace reelfolio::stages
