#pragma once

#include <optional>
#include <vector>

namespace reelfolio::stages {

/// A stretch of a video, in seconds; the end belongs to the next one.
struct SceneSpan {
  double start_s = 0;
  double end_s = 0;
};

/// Turns the frame times of a video and the cuts between them into scenes that tile it: the
/// first starts with the first frame, each ends where the next starts, the last ends with the
/// last frame. Scenes come out as soon as they are certain. Not thread-safe.
///
/// With `max_scene_s` > 0 longer scenes are divided: pieces of the maximum as the video goes by,
/// and what is left before the next cut in equal parts. Pieces start at frames.
class SceneTiler {
 public:
  explicit SceneTiler(double max_scene_s = 0) : max_scene_s_(max_scene_s) {}

  /// The next frame, ascending.
  void add_frame(double time_s, std::vector<SceneSpan>& scenes);
  /// A new scene starts at `time_s`, the time of a frame already added or of the next one. Ascending. A cut
  /// at or before the start of a scene that is already out changes nothing.
  void add_cut(double time_s, std::vector<SceneSpan>& scenes);
  /// The last frame ends at `end_s`. Closes the last scene, if there was a frame.
  void finish(double end_s, std::vector<SceneSpan>& scenes);

 private:
  void close(double end_s, std::vector<SceneSpan>& scenes);
  void split_off(double target_s, double before_s, std::vector<SceneSpan>& scenes);

  double max_scene_s_;
  std::optional<double> start_s_;
  std::vector<double> times_s_;  // frames of the open scene after its first; kept only with a maximum
};

}  // namespace reelfolio::stages
