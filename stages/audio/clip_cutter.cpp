#include "stages/audio/clip_cutter.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <memory>

#include "engine/audio_clip.h"

namespace reelfolio::stages {
namespace {

constexpr std::size_t kFrame = engine::kAudioSampleRate / 100;  // samples
constexpr std::size_t kPauseFrames = 30;
constexpr std::size_t kLoudFrames = 5;
constexpr double kAsQuiet = 2;         // 3 dB
constexpr double kQuietEnough = 1e-7;  // mean square, -70 dB

/// Mean squares of 10 ms frames, as sums that begin with 0: element i is the sum of the first i.
std::vector<double> power_sums(std::span<const float> samples) {
  std::vector<double> sums(samples.size() / kFrame + 1, 0.0);
  for (std::size_t frame = 0; frame + 1 < sums.size(); ++frame) {
    double sum = 0;
    for (std::size_t i = 0; i < kFrame; ++i) {
      const double sample = samples[frame * kFrame + i];
      sum += sample * sample;
    }
    sums[frame + 1] = sums[frame] + sum / kFrame;
  }
  return sums;
}

std::size_t samples_of(double seconds) {
  return static_cast<std::size_t>(std::llround(seconds * engine::kAudioSampleRate));
}

}  // namespace

ClipCutter::ClipCutter(double min_clip_s, double max_clip_s)
    : min_samples_(samples_of(min_clip_s)),
      max_samples_(std::min(samples_of(max_clip_s), engine::kMostAudioSamples)) {
  assert(min_samples_ > 0 && min_samples_ <= max_samples_);
}

void ClipCutter::begin(std::int64_t first) {
  first_ = first;
  held_.clear();
}

void ClipCutter::add(std::span<const float> samples, std::vector<SoundClip>& clips) {
  held_.insert(held_.end(), samples.begin(), samples.end());
  while (held_.size() > max_samples_) cut(quiet_place(), clips);
}

void ClipCutter::finish(std::vector<SoundClip>& clips) {
  if (held_.size() >= engine::kLeastAudioSamples) cut(held_.size(), clips);
  held_.clear();
}

/// The length of the next clip.
std::size_t ClipCutter::quiet_place() const {
  const std::vector<double> sums = power_sums(std::span(held_).first(max_samples_));
  const std::size_t half = kPauseFrames / 2;
  const auto power_around = [&](std::size_t frame) {
    const double mean = (sums[frame + half] - sums[frame - half]) / kPauseFrames;
    return std::max(mean, kQuietEnough);
  };
  const std::size_t from = std::max((min_samples_ + kFrame - 1) / kFrame, half);
  const std::size_t frames = sums.size() - 1;
  if (frames < from + half) return max_samples_;
  double quietest = power_around(from);
  for (std::size_t frame = from; frame + half <= frames; ++frame) {
    quietest = std::min(quietest, power_around(frame));
  }
  std::size_t place = frames - half;
  while (power_around(place) > quietest * kAsQuiet) --place;
  return place * kFrame;
}

void ClipCutter::cut(std::size_t length, std::vector<SoundClip>& clips) {
  auto audio = std::make_shared<engine::AudioClip>();
  const auto end = held_.begin() + static_cast<std::ptrdiff_t>(length);
  audio->samples.assign(held_.begin(), end);
  held_.erase(held_.begin(), end);
  SoundClip clip;
  clip.audio = std::move(audio);
  clip.start_s = static_cast<double>(first_) / engine::kAudioSampleRate;
  clips.push_back(std::move(clip));
  first_ += static_cast<std::int64_t>(length);
}

double loudest_level_db(std::span<const float> samples) {
  const std::vector<double> sums = power_sums(samples);
  const std::size_t frames = sums.size() - 1;
  double loudest = 0;
  for (std::size_t frame = 0; frame < frames; frame += kLoudFrames) {
    const std::size_t end = std::min(frame + kLoudFrames, frames);
    loudest = std::max(loudest, (sums[end] - sums[frame]) / static_cast<double>(end - frame));
  }
  return 10 * std::log10(loudest);
}

}  // namespace reelfolio::stages
