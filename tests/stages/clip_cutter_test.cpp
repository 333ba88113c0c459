#include "stages/audio/clip_cutter.h"

#include <cmath>
#include <vector>

#include "engine/audio_clip.h"
#include "tests/stages/media_fixture.h"
#include "tests/support/catch.h"

using namespace reelfolio;
using namespace reelfolio::stages;

namespace {

constexpr int kRate = engine::kAudioSampleRate;

/// Noise of `amplitude` with pauses at [first, second) seconds.
std::vector<float> noise(double seconds, const std::vector<std::pair<double, double>>& pauses,
                         float amplitude = 0.3F, float pause_amplitude = 0) {
  Sequence random(7);
  std::vector<float> samples(static_cast<std::size_t>(seconds * kRate));
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const double at_s = static_cast<double>(i) / kRate;
    bool quiet = false;
    for (const auto& [from, to] : pauses) quiet = quiet || (at_s >= from && at_s < to);
    const float unit = static_cast<float>(random.next(2001)) / 1000.0F - 1.0F;
    samples[i] = unit * (quiet ? pause_amplitude : amplitude);
  }
  return samples;
}

std::vector<SoundClip> cut(const std::vector<float>& samples, double min_s, double max_s,
                           std::size_t piece = 1600, std::int64_t first = 0) {
  ClipCutter cutter(min_s, max_s);
  std::vector<SoundClip> clips;
  cutter.begin(first);
  for (std::size_t at = 0; at < samples.size(); at += piece) {
    cutter.add(std::span(samples).subspan(at, std::min(piece, samples.size() - at)), clips);
  }
  cutter.finish(clips);
  return clips;
}

}  // namespace

TEST_CASE("clip cutter: clips tile the sound, are no longer than asked for, and hold its samples") {
  const std::vector<float> samples = noise(100, {{17, 17.5}, {40, 40.2}, {71, 72}});
  for (const std::size_t piece : {std::size_t{160}, std::size_t{1024}, samples.size()}) {
    CAPTURE(piece);
    std::vector<float> together;
    double expected_s = 2;
    for (const SoundClip& clip : cut(samples, 10, 30, piece, 2 * kRate)) {
      CHECK(clip.start_s == Approx(expected_s));
      CHECK(clip.audio->duration_s() <= 30);
      expected_s = clip.end_s();
      together.insert(together.end(), clip.audio->samples.begin(), clip.audio->samples.end());
    }
    CHECK(together == samples);
  }
}

TEST_CASE("clip cutter: cuts are in the latest of equally quiet pauses") {
  const auto clips = cut(noise(50, {{12, 12.6}, {24, 24.6}}), 10, 30);
  REQUIRE(clips.size() == 2);
  CHECK(clips[0].end_s() > 24);
  CHECK(clips[0].end_s() < 24.6);
}

TEST_CASE("clip cutter: a quieter pause wins over a later one, hum or not") {
  std::vector<float> samples = noise(40, {{15, 15.6}}, 0.3F, 0.002F);
  for (std::size_t i = 25 * kRate; i < 26 * kRate; ++i) samples[i] *= 0.3F;  // quieter, but no pause
  const auto clips = cut(samples, 10, 30);
  REQUIRE(clips.size() == 2);
  CHECK(clips[0].end_s() > 15);
  CHECK(clips[0].end_s() < 15.6);
}

TEST_CASE("clip cutter: silence and steady noise are cut at the latest place") {
  for (const float amplitude : {0.0F, 0.2F}) {
    const auto clips = cut(noise(65, {}, amplitude), 10, 30);
    REQUIRE(clips.size() == 3);
    CHECK(clips[0].audio->duration_s() > 25);
    CHECK(clips[1].audio->duration_s() > 25);
  }
}

TEST_CASE("clip cutter: what is too short to hear makes no clip") {
  CHECK(cut(std::vector<float>(160, 0.1F), 10, 30).empty());
  CHECK(cut(std::vector<float>(161, 0.1F), 10, 30).size() == 1);
  CHECK(cut({}, 10, 30).empty());
  CHECK(cut(noise(30, {}), 10, 30).size() == 1);
}

TEST_CASE("clip cutter: levels are those of the loudest 50 ms") {
  std::vector<float> samples(kRate, 0.0F);
  CHECK(loudest_level_db(samples) == -std::numeric_limits<double>::infinity());
  std::fill_n(samples.begin() + 8000, 800, 0.1F);
  CHECK(loudest_level_db(samples) == Approx(-20));
  CHECK(loudest_level_db(std::vector<float>(kRate, -1.0F)) == Approx(0).margin(1e-6));
}
