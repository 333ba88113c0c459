#include "stages/video/scene_tiler.h"

#include <algorithm>
#include <cmath>

namespace reelfolio::stages {

void SceneTiler::add_frame(double time_s, std::vector<SceneSpan>& scenes) {
  if (!start_s_) {
    start_s_ = time_s;
    return;
  }
  if (max_scene_s_ <= 0 || time_s <= *start_s_) return;
  times_s_.push_back(time_s);
  // Two maxima are open: the first can go on, and what remains can still be shared out evenly.
  // Detectors report a cut within a second or so, so that one before the piece's end is known by now.
  while (time_s - *start_s_ >= 2 * max_scene_s_) {
    const double before = *start_s_;
    split_off(before + max_scene_s_, time_s, scenes);
    if (*start_s_ == before) break;
  }
}

void SceneTiler::add_cut(double time_s, std::vector<SceneSpan>& scenes) {
  if (!start_s_ || time_s <= *start_s_) return;
  close(time_s, scenes);
}

void SceneTiler::finish(double end_s, std::vector<SceneSpan>& scenes) {
  if (!start_s_) return;
  close(std::max(end_s, *start_s_), scenes);
  start_s_.reset();
}

void SceneTiler::close(double end_s, std::vector<SceneSpan>& scenes) {
  if (max_scene_s_ > 0) {
    // A hair's breadth over a whole number of maxima is no reason for one more piece.
    const double pieces = std::ceil((end_s - *start_s_) / max_scene_s_ - 1e-6);
    const double first_s = *start_s_;
    const double length_s = (end_s - first_s) / pieces;
    for (int i = 1; i < pieces; ++i) split_off(first_s + i * length_s, end_s, scenes);
  }
  scenes.push_back({*start_s_, end_s});
  start_s_ = end_s;
  std::erase_if(times_s_, [end_s](double t) { return t <= end_s; });
}

void SceneTiler::split_off(double target_s, double before_s, std::vector<SceneSpan>& scenes) {
  // The last frame that starts by the target; the first one after it if frames are that sparse.
  auto frame = std::upper_bound(times_s_.begin(), times_s_.end(), target_s + 1e-6);
  if (frame != times_s_.begin()) --frame;
  if (frame == times_s_.end() || *frame >= before_s) return;
  const double at_s = *frame;
  scenes.push_back({*start_s_, at_s});
  start_s_ = at_s;
  times_s_.erase(times_s_.begin(), frame + 1);
}

}  // namespace reelfolio::stages
