#pragma once

#include "stages/stage.h"
#include "stages/video/frame_picture.h"

namespace reelfolio::stages {

/// Attaches frames to scenes: `per_scene` evenly spaced ones, or the sharpest near each of those places, or,
/// for `mode: video` of the language stages, frame floor(i * N / per_scene) of the scene's N, whatever it
/// shows.
///
/// Of the first two, a frame that is black, blank, damaged or in the midst of a dissolve or fade gives way to
/// the nearest (or sharpest) one that is not, if there is one in the scene within a second of the place and
/// within the place's share of the scene. A scene of fewer frames than asked for gives each of them once.
/// Throws ItemError "video.no_frames" for a scene of which no frame can be decoded.
///
/// The worker keeps the video open and reads on from scene to scene.
StageType sample_frames_type();

/// Size in which a frame of `frame` pixels is handed over: its own, unless its longer side has more than 1920
/// pixels; then reduced to that, but never below the size that `soft_tokens` can show.
PictureSize handed_over_size(PictureSize frame, int soft_tokens);

}  // namespace reelfolio::stages
