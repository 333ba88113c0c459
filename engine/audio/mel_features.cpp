#include "engine/audio/mel_features.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <kissfft.hh>
#include <numbers>
#include <vector>

#include "engine/audio_clip.h"

namespace reelfolio::engine::audio {

namespace {

constexpr std::size_t kFrame = 320;
constexpr std::size_t kHop = 160;
constexpr std::size_t kPadding = kFrame / 2;  ///< zeros in front of the sound
constexpr std::size_t kTransform = 512;
constexpr std::size_t kSpectrumBins = kTransform / 2 + 1;
constexpr double kHighestHz = 8000.0;
constexpr double kFloor = 0.001;  ///< added before the logarithm

/// Periodic Hann window.
std::array<float, kFrame> make_window() {
  std::array<float, kFrame> window;
  for (std::size_t i = 0; i < kFrame; ++i) {
    const double phase = 2.0 * std::numbers::pi * static_cast<double>(i) / kFrame;
    window[i] = static_cast<float>(0.5 - 0.5 * std::cos(phase));
  }
  return window;
}

/// Weights of consecutive bins of the spectrum.
struct Filter {
  std::size_t first_bin = 0;
  std::vector<double> weights;
};

/// Triangles between points evenly spaced on the HTK mel scale, not normalised. The lowest one
/// lies between two bins of the spectrum and has no weights.
std::array<Filter, kMelBins> make_filters() {
  constexpr double kBinHz = static_cast<double>(kAudioSampleRate) / kTransform;
  const double highest_mel = 2595.0 * std::log10(1.0 + kHighestHz / 700.0);
  std::array<double, kMelBins + 2> corners_hz;
  for (std::size_t i = 0; i < corners_hz.size(); ++i) {
    const double mel = highest_mel * static_cast<double>(i) / (kMelBins + 1);
    corners_hz[i] = 700.0 * (std::pow(10.0, mel / 2595.0) - 1.0);
  }
  std::array<Filter, kMelBins> filters;
  for (std::size_t j = 0; j < kMelBins; ++j) {
    const double low = corners_hz[j];
    const double middle = corners_hz[j + 1];
    const double high = corners_hz[j + 2];
    for (std::size_t bin = 0; bin < kSpectrumBins; ++bin) {
      const double hz = static_cast<double>(bin) * kBinHz;
      const double weight = std::min((hz - low) / (middle - low), (high - hz) / (high - middle));
      if (weight <= 0.0) continue;
      if (filters[j].weights.empty()) filters[j].first_bin = bin;
      filters[j].weights.push_back(weight);
    }
  }
  return filters;
}

}  // namespace

std::size_t num_mel_frames(std::size_t samples) {
  samples = std::min(samples, kMostAudioSamples);
  if (samples < kLeastAudioSamples) return 0;
  return (samples - kLeastAudioSamples) / kHop + 1;
}

std::size_t num_soft_tokens(std::size_t samples) {
  return (num_mel_frames(samples) + 3) / 4;
}

MatrixBuffer mel_features(std::span<const float> samples) {
  static const std::array<float, kFrame> window = make_window();
  static const std::array<Filter, kMelBins> filters = make_filters();
  static const kissfft<double> transform(kTransform / 2, false);
  const std::size_t frames = num_mel_frames(samples.size());
  MatrixBuffer features(frames, kMelBins);
#pragma omp parallel for schedule(static)
  for (std::size_t frame = 0; frame < frames; ++frame) {
    std::array<double, kTransform> wave{};
    for (std::size_t i = frame == 0 ? kPadding : 0; i < kFrame; ++i) {
      wave[i] = static_cast<double>(samples[frame * kHop + i - kPadding] * window[i]);
    }
    // Bin 0 shares its place with the last one, of which both are real.
    std::array<std::complex<double>, kTransform / 2> spectrum;
    transform.transform_real(wave.data(), spectrum.data());
    std::array<double, kSpectrumBins> magnitudes;
    magnitudes.front() = std::abs(spectrum[0].real());
    magnitudes.back() = std::abs(spectrum[0].imag());
    for (std::size_t bin = 1; bin + 1 < kSpectrumBins; ++bin) {
      const double re = spectrum[bin].real();
      const double im = spectrum[bin].imag();
      magnitudes[bin] = std::sqrt(re * re + im * im);
    }
    const auto row = features.row(frame);
    for (std::size_t j = 0; j < kMelBins; ++j) {
      const Filter& filter = filters[j];
      double sum = 0.0;
      for (std::size_t i = 0; i < filter.weights.size(); ++i) {
        sum += filter.weights[i] * magnitudes[filter.first_bin + i];
      }
      row[j] = static_cast<float>(std::log(sum + kFloor));
    }
  }
  return features;
}

}  // namespace reelfolio::engine::audio
