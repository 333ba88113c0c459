#pragma once

#include <cstddef>
#include <span>

#include "engine/tensor.h"

/// From samples to the log-mel features that the audio tower reads.
/// Source of the rules and figures: gemma4.md, section 7.
namespace reelfolio::engine::audio {

inline constexpr std::size_t kMelBins = 128;

/// Frames of features for so many samples at 16 kHz; what lies beyond 30 s does not count. A frame
/// is 320 samples, the first half of frame 0 in front of the sound, and frames start 160 apart;
/// one more sample than its own must be there.
std::size_t num_mel_frames(std::size_t samples);

/// Rows that the tower makes of them: one for each four frames begun, 25 a second.
std::size_t num_soft_tokens(std::size_t samples);

/// Natural logarithms of mel magnitudes, [num_mel_frames(samples.size()), kMelBins]. In f64 but for
/// window and windowed samples: the release transforms in f32, whose rounding shows in quiet bands
/// by up to 5e-4.
///
/// Works on the OpenMP threads of the calling thread; any thread may call it. The result does not
/// depend on their number.
MatrixBuffer mel_features(std::span<const float> samples);

}  // namespace reelfolio::engine::audio
