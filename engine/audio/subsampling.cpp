#include "engine/audio/subsampling.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <span>

#include "engine/audio/audio_tensors.h"
#include "engine/audio/mel_features.h"
#include "engine/weights.h"

namespace reelfolio::engine::audio {

namespace {

constexpr std::size_t kSide = 3;
constexpr std::size_t kTaps = kSide * kSide;
/// Steps of the second convolution made together: what the first one makes for them stays in cache.
constexpr std::size_t kChunkSteps = 64;

std::size_t halved(std::size_t size) {
  return (size + 1) / 2;
}

/// A kernel [out, in, time, frequency] as a matrix [out, time * frequency * in].
ops::Linear load_taps(const Checkpoint& checkpoint, const std::string& name, std::size_t out,
                      std::size_t in) {
  const TensorView& tensor = checkpoint.require(name, {out, in, kSide, kSide});
  std::vector<float> kernel(tensor.num_elements());
  read_f32(tensor, kernel);
  std::vector<float> taps(kernel.size());
  for (std::size_t o = 0; o < out; ++o) {
    for (std::size_t i = 0; i < in; ++i) {
      for (std::size_t tap = 0; tap < kTaps; ++tap) {
        taps[(o * kTaps + tap) * in + i] = kernel[(o * in + i) * kTaps + tap];
      }
    }
  }
  return {std::as_bytes(std::span(taps)), DType::f32, out, kTaps * in, ops::WeightType::f32};
}

/// y = max(0, (x - mean) / sqrt(variance + eps) * weight), in place. Sums run over lanes of their own,
/// so that the compiler may use vectors.
void norm_and_rectify(float* x, const std::vector<float>& weight, float eps) {
  constexpr std::size_t kLanes = 16;
  const std::size_t size = weight.size();
  const auto sum = [&](auto term) {
    float lanes[kLanes] = {};
    std::size_t i = 0;
    for (; i + kLanes <= size; i += kLanes) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += term(x[i + lane]);
    }
    for (std::size_t lane = 0; i < size; ++i, ++lane) lanes[lane] += term(x[i]);
    float total = 0.0F;
    for (const float lane : lanes) total += lane;
    return total;
  };
  const float mean = sum([](float v) { return v; }) / static_cast<float>(size);
  const float variance = sum([mean](float v) { return (v - mean) * (v - mean); }) / static_cast<float>(size);
  const float factor = 1.0F / std::sqrt(variance + eps);
  for (std::size_t i = 0; i < size; ++i) x[i] = std::max(0.0F, (x[i] - mean) * factor * weight[i]);
}

}  // namespace

Subsampling::Convolution::Convolution(const Checkpoint& checkpoint, const std::string& name, std::size_t out,
                                      std::size_t in)
    : in_channels(in),
      out_channels(out),
      norm(load_vector(checkpoint, name + ".norm.weight", out)),
      taps(load_taps(checkpoint, name + ".conv.weight", out, in)) {}

Subsampling::Subsampling(const AudioConfig& config, const Checkpoint& checkpoint)
    : eps_(config.rms_norm_eps),
      convolutions_{Convolution(checkpoint, std::string(kTowerPrefix) + "subsample_conv_projection.layer0",
                                config.subsampling_conv_channels[0], 1),
                    Convolution(checkpoint, std::string(kTowerPrefix) + "subsample_conv_projection.layer1",
                                config.subsampling_conv_channels[1], config.subsampling_conv_channels[0])},
      projection_(load_linear(
          checkpoint, std::string(kTowerPrefix) + "subsample_conv_projection.input_proj_linear.weight",
          config.hidden_size, config.subsampling_conv_channels[1] * (kMelBins / 4), ops::WeightType::f32)) {}

/// Steps [first, first + count) of a convolution's output, [count, bins * channels]. `in` holds
/// steps from first_in on, [steps, in_bins * in_channels], of the all_in that there are.
void Subsampling::convolve(const Convolution& convolution, float eps, ConstMatrix in, std::size_t in_bins,
                           std::ptrdiff_t first_in, std::size_t all_in, std::size_t first, std::size_t count,
                           Matrix out) {
  const std::size_t channels = convolution.in_channels;
  const std::size_t bins = halved(in_bins);
  assert(in.cols == in_bins * channels && out.cols == bins * convolution.out_channels &&
         out.stride == out.cols);
  windows_.resize(count * bins, kTaps * channels);
#pragma omp parallel for schedule(static)
  for (std::size_t step = 0; step < count; ++step) {
    for (std::size_t bin = 0; bin < bins; ++bin) {
      float* window = windows_.row(step * bins + bin).data();
      for (std::size_t tap = 0; tap < kTaps; ++tap, window += channels) {
        const auto time = static_cast<std::ptrdiff_t>(2 * (first + step) + tap / kSide) - 1;
        const auto frequency = static_cast<std::ptrdiff_t>(2 * bin + tap % kSide) - 1;
        const bool inside = time >= 0 && time < static_cast<std::ptrdiff_t>(all_in) && frequency >= 0 &&
                            frequency < static_cast<std::ptrdiff_t>(in_bins);
        if (inside) {
          const float* source =
              in.row(static_cast<std::size_t>(time - first_in)).data() + frequency * channels;
          std::copy_n(source, channels, window);
        } else {
          std::fill_n(window, channels, 0.0F);
        }
      }
    }
  }
  const Matrix positions(out.data, count * bins, convolution.out_channels);
  convolution.taps.apply(windows_.view(), positions);
#pragma omp parallel for schedule(static)
  for (std::size_t r = 0; r < positions.rows; ++r) {
    norm_and_rectify(positions.row(r).data(), convolution.norm, eps);
  }
}

void Subsampling::apply(ConstMatrix features, MatrixBuffer& out) {
  assert(features.cols == kMelBins);
  const std::size_t half_steps = halved(features.rows);
  const std::size_t steps = halved(half_steps);
  const std::size_t half_bins = halved(kMelBins);
  quartered_.resize(steps, halved(half_bins) * convolutions_[1].out_channels);
  for (std::size_t first = 0; first < steps; first += kChunkSteps) {
    const std::size_t count = std::min(kChunkSteps, steps - first);
    // Step t reads steps 2t - 1 to 2t + 1 of the layer before.
    const std::size_t half_first = first == 0 ? 0 : 2 * first - 1;
    const std::size_t half_last = std::min(half_steps, 2 * (first + count));
    halved_.resize(half_last - half_first, half_bins * convolutions_[0].out_channels);
    convolve(convolutions_[0], eps_, features, kMelBins, 0, features.rows, half_first, half_last - half_first,
             halved_.view());
    convolve(convolutions_[1], eps_, halved_.view(), half_bins, static_cast<std::ptrdiff_t>(half_first),
             half_steps, first, count, quartered_.view().row_block(first, count));
  }
  out.resize(steps, projection_.out_size());
  projection_.apply(quartered_.view(), out.view());
}

}  // namespace reelfolio::engine::audio
