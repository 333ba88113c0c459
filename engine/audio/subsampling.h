#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/ops/matmul.h"
#include "engine/safetensors.h"
#include "engine/tensor.h"

namespace reelfolio::engine::audio {

/// Two convolutions of 3 x 3 that halve time and frequency, each with a layer norm over channels and
/// ReLU, and a projection to the tower's width (gemma4.md, section 8). All in f32.
///
/// Owns its weights. `apply` uses scratch memory of the object: one thread at a time; it works on the
/// OpenMP threads of the calling thread, and its result does not depend on their number.
class Subsampling {
 public:
  Subsampling(const AudioConfig& config, const Checkpoint& checkpoint);

  /// features [frames, kMelBins]; gives [ceil(ceil(frames / 2) / 2), hidden_size].
  void apply(ConstMatrix features, MatrixBuffer& out);

 private:
  struct Convolution {
    Convolution(const Checkpoint& checkpoint, const std::string& name, std::size_t out_channels,
                std::size_t in_channels);

    std::size_t in_channels;
    std::size_t out_channels;
    std::vector<float> norm;
    ops::Linear taps;  ///< [out channels, 9 * in channels], the taps in order of time, then frequency
  };

  void convolve(const Convolution& convolution, float eps, ConstMatrix in, std::size_t in_bins,
                std::ptrdiff_t first_in, std::size_t all_in, std::size_t first, std::size_t count,
                Matrix out);

  float eps_;
  std::array<Convolution, 2> convolutions_;
  ops::Linear projection_;
  MatrixBuffer windows_;    ///< inputs of the taps, a row for each output position
  MatrixBuffer halved_;     ///< [time, frequency * channels] of the first convolution
  MatrixBuffer quartered_;  ///< the same of the second
};

}  // namespace reelfolio::engine::audio
