#pragma once

#include <memory>
#include <vector>

#include "stages/video/detectors.h"
#include "stages/video/frame_picture.h"

namespace reelfolio::stages {

/// Frames as PySceneDetect scores them, to the bit where FFmpeg's converter is the same: values as
/// coded (BT.601 whatever the tag, no tone mapping), no deinterlacing, bilinear samples without a
/// filter. Upright. Keeps converters and buffers from frame to frame; not thread-safe.
class FrameScorer {
 public:
  FrameScorer();
  ~FrameScorer();
  FrameScorer(FrameScorer&&) noexcept;
  FrameScorer& operator=(FrameScorer&&) noexcept;

  /// `size` is of the upright picture. Throws ItemError "video.unsupported".
  void score(const AVFrame& frame, const Orientation& orientation, PictureSize size, BgrFrame& out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace reelfolio::stages
