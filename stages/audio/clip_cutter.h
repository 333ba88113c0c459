#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "stages/item.h"

namespace reelfolio::stages {

/// Cuts a stretch of sound that arrives in pieces into clips that tile it.
///
/// A stretch of up to `max_clip_s` is one clip. Of a longer one each clip ends between `min_clip_s` and
/// `max_clip_s`, in the middle of the quietest 0.3 s there; of places within 3 dB of the quietest (all below
/// -70 dB of full scale count as equally quiet) the latest is taken. Holds `max_clip_s` of
/// sound and one piece. One thread at a time.
class ClipCutter {
 public:
  /// 0 < min_clip_s <= max_clip_s <= 30.
  ClipCutter(double min_clip_s, double max_clip_s);

  /// A new stretch, whose first sample is number `first` of the input (engine::kAudioSampleRate of
  /// them a second). Forgets what was there.
  void begin(std::int64_t first);
  /// Appends clips that are complete to `clips`.
  void add(std::span<const float> samples, std::vector<SoundClip>& clips);
  /// The rest of the stretch. Less than engine::kLeastAudioSamples is dropped.
  void finish(std::vector<SoundClip>& clips);

 private:
  std::size_t quiet_place() const;
  void cut(std::size_t length, std::vector<SoundClip>& clips);

  std::size_t min_samples_;
  std::size_t max_samples_;
  std::int64_t first_ = 0;  ///< of held_
  std::vector<float> held_;
};

/// The loudest 50 ms of a clip in dB of full scale, where a square wave of full scale has 0; -infinity for
/// digital silence.
double loudest_level_db(std::span<const float> samples);

}  // namespace reelfolio::stages
