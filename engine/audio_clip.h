#pragma once

#include <cstddef>
#include <vector>

namespace reelfolio::engine {

inline constexpr int kAudioSampleRate = 16000;
/// 30 seconds: what the model hears in one piece.
inline constexpr std::size_t kMostAudioSamples = 480000;
/// One frame of features takes 161 samples; with less there is nothing to hear.
inline constexpr std::size_t kLeastAudioSamples = 161;

/// Sound as the model hears it: one channel, kAudioSampleRate samples a second, full scale
/// -1 to 1 (a sample of 16 bits divided by 32768). Decoders may run a little over full scale.
struct AudioClip {
  std::vector<float> samples;

  double duration_s() const { return static_cast<double>(samples.size()) / kAudioSampleRate; }
};

}  // namespace reelfolio::engine
