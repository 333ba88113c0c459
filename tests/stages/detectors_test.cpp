#include "stages/video/detectors.h"

#include <algorithm>
#include <array>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
#include <random>
#include <vector>

#include "stages/video/scene_tiler.h"
#include "tests/support/catch.h"

using namespace reelfolio::stages;

namespace {

constexpr double kFrameS = 0.04;

BgrFrame plain(int blue, int green, int red) {
  BgrFrame frame{16, 12, {}};
  for (int i = 0; i < frame.width * frame.height; ++i) {
    for (const int v : {blue, green, red}) frame.pixels.push_back(static_cast<std::uint8_t>(v));
  }
  return frame;
}

BgrFrame grey(int value) {
  return plain(value, value, value);
}

std::vector<double> cuts_of(const DetectorSettings& settings, const std::vector<BgrFrame>& frames) {
  const auto detector = make_detector(settings);
  std::vector<double> cuts;
  for (std::size_t i = 0; i < frames.size(); ++i) {
    detector->add_frame(kFrameS * static_cast<double>(i), frames[i], cuts);
  }
  detector->finish(kFrameS * static_cast<double>(frames.size()), cuts);
  return cuts;
}

/// Frame numbers of the cuts.
std::vector<int> numbers(const std::vector<double>& cuts) {
  std::vector<int> result;
  for (const double cut : cuts) result.push_back(static_cast<int>(cut / kFrameS + 0.5));
  return result;
}

DetectorSettings settings_of(DetectorKind kind) {
  DetectorSettings settings;
  settings.kind = kind;
  settings.threshold = default_threshold(kind);
  return settings;
}

std::vector<BgrFrame> greys(const std::vector<std::pair<int, int>>& count_and_value) {
  std::vector<BgrFrame> frames;
  for (const auto& [count, value] : count_and_value)
    frames.insert(frames.end(), static_cast<std::size_t>(count), grey(value));
  return frames;
}

}  // namespace

TEST_CASE("detectors: the content score is the mean change of hue, saturation and value") {
  const auto detector = make_detector(settings_of(DetectorKind::content));
  std::vector<double> cuts;
  detector->add_frame(0, grey(10), cuts);
  CHECK(detector->last_score() == 0);
  detector->add_frame(1, grey(100), cuts);
  CHECK(detector->last_score() == Approx(90.0 / 3));
  // Pure blue has hue 120 on OpenCV's scale of 180, saturation and value 255.
  detector->add_frame(2, plain(255, 0, 0), cuts);
  CHECK(detector->last_score() == Approx((120.0 + 255 + 155) / 3));
}

TEST_CASE("detectors: weights change the content score, equal ones do not") {
  DetectorSettings settings = settings_of(DetectorKind::content);
  const auto score = [&settings] {
    const auto detector = make_detector(settings);
    std::vector<double> cuts;
    detector->add_frame(0, plain(20, 90, 200), cuts);
    detector->add_frame(1, plain(180, 90, 30), cuts);
    return detector->last_score();
  };
  const double usual = score();
  settings.weights = {2, 2, 2, 0};
  CHECK(score() == Approx(usual));
  settings.weights = {0, 0, 1, 0};
  CHECK(score() == Approx(20));
  settings.weights = {0, 0, 1, 1};
  CHECK(score() == Approx(10));  // no edges in plain pictures
}

TEST_CASE("detectors: every kind but threshold finds a hard cut at its first frame") {
  std::mt19937 random(3);
  const auto noise = [&random](int brightest) {
    BgrFrame frame = grey(0);
    for (std::uint8_t& v : frame.pixels) {
      v = static_cast<std::uint8_t>(std::uniform_int_distribution<int>(0, brightest)(random));
    }
    return frame;
  };
  const BgrFrame first = noise(120);
  std::vector<BgrFrame> frames(20, first);
  frames.resize(45, noise(255));
  for (const DetectorKind kind :
       {DetectorKind::content, DetectorKind::adaptive, DetectorKind::histogram, DetectorKind::hash}) {
    INFO("kind " << static_cast<int>(kind));
    CHECK(numbers(cuts_of(settings_of(kind), frames)) == std::vector<int>{20});
    CHECK(cuts_of(settings_of(kind), std::vector<BgrFrame>(45, first)).empty());
  }
}

TEST_CASE("detectors: no cut before the minimum scene has passed, one exactly then") {
  const DetectorSettings settings = settings_of(DetectorKind::adaptive);
  CHECK(numbers(cuts_of(settings, greys({{15, 20}, {20, 200}}))) == std::vector<int>{15});
  CHECK(cuts_of(settings, greys({{14, 20}, {20, 200}})).empty());
}

TEST_CASE("detectors: adaptive ignores change that goes on") {
  std::vector<BgrFrame> frames;
  for (int i = 0; i < 60; ++i) frames.push_back(grey(i % 2 == 0 ? 40 : 180));
  CHECK(cuts_of(settings_of(DetectorKind::adaptive), frames).empty());
  DetectorSettings content = settings_of(DetectorKind::content);
  content.filter = CutFilter::suppress;
  CHECK_FALSE(cuts_of(content, frames).empty());
}

TEST_CASE("detectors: a burst of cuts merges into one at its last, or is suppressed after its first") {
  // Cuts at 20, then at 40, 45, 50, 55, 60, then quiet.
  const std::vector<BgrFrame> frames =
      greys({{20, 0}, {20, 100}, {5, 200}, {5, 0}, {5, 200}, {5, 0}, {40, 200}});
  DetectorSettings settings = settings_of(DetectorKind::content);
  CHECK(numbers(cuts_of(settings, frames)) == std::vector<int>{20, 40, 60});
  settings.filter = CutFilter::suppress;
  CHECK(numbers(cuts_of(settings, frames)) == std::vector<int>{20, 40, 55});
  settings.min_scene_s = 0;
  CHECK(numbers(cuts_of(settings, frames)) == std::vector<int>{20, 40, 45, 50, 55, 60});
}

TEST_CASE("detectors: a fade through black is cut where the bias says") {
  const std::vector<BgrFrame> frames = greys({{20, 120}, {10, 5}, {20, 120}});
  DetectorSettings settings = settings_of(DetectorKind::threshold);
  CHECK(numbers(cuts_of(settings, frames)) == std::vector<int>{25});
  settings.fade_bias = -1;
  CHECK(numbers(cuts_of(settings, frames)) == std::vector<int>{20});
  settings.fade_bias = 1;
  CHECK(numbers(cuts_of(settings, frames)) == std::vector<int>{30});
  settings.min_fade_s = 0.5;
  CHECK(cuts_of(settings, frames).empty());
}

TEST_CASE("detectors: fades to white and fades that last to the end count when asked for") {
  DetectorSettings settings = settings_of(DetectorKind::threshold);
  const std::vector<BgrFrame> dark_end = greys({{20, 120}, {10, 5}});
  CHECK(cuts_of(settings, dark_end).empty());
  settings.final_fade = true;
  CHECK(numbers(cuts_of(settings, dark_end)) == std::vector<int>{20});
  settings.fade_to_white = true;
  settings.threshold = 240;
  CHECK(numbers(cuts_of(settings, greys({{20, 120}, {10, 250}, {20, 120}}))) == std::vector<int>{25});
}

TEST_CASE("detectors: the histogram's difference is one minus a correlation") {
  const auto detector = make_detector(settings_of(DetectorKind::histogram));
  std::vector<double> cuts;
  detector->add_frame(0, grey(10), cuts);
  detector->add_frame(1, grey(10), cuts);
  CHECK(detector->last_score() == Approx(0).margin(1e-12));
  // Two single bins of 128: the correlation is -1/127.
  detector->add_frame(2, grey(200), cuts);
  CHECK(detector->last_score() == Approx(1 + 1.0 / 127));
}

TEST_CASE("detectors: brightness is counted as OpenCV computes it") {
  // Each frame holds all reds at one blue and green, so that a pixel that is off by one shows.
  int different = 0;
  for (int blue = 0; blue < 256; blue += 5) {
    for (int green = 0; green < 256; green += 5) {
      BgrFrame frame{257, 1, {}};
      for (int i = 0; i < frame.width; ++i) {
        for (const int v : {blue, green, i % 256}) frame.pixels.push_back(static_cast<std::uint8_t>(v));
      }
      cv::Mat yuv;
      cv::cvtColor(cv::Mat(frame.height, frame.width, CV_8UC3, frame.pixels.data()), yuv, cv::COLOR_BGR2YUV);
      std::array<std::uint32_t, 256> expected{};
      for (int i = 0; i < frame.width; ++i) ++expected[yuv.ptr<std::uint8_t>()[3 * i]];
      different += luma_histogram(frame) != expected ? 1 : 0;
    }
  }
  CHECK(different == 0);
}

TEST_CASE("scene_tiler: scenes tile the video whatever the cuts, none longer than the maximum and a frame") {
  std::mt19937 random(7);
  const auto uniform = [&random](double from, double to) {
    return std::uniform_real_distribution<double>(from, to)(random);
  };
  for (int round = 0; round < 300; ++round) {
    const double max_scene = round % 3 == 0 ? 0 : uniform(0.3, 4);
    std::vector<double> times{uniform(0, 2)};
    double longest_frame = 0;
    const int count = static_cast<int>(uniform(1, 200));
    for (int i = 1; i < count; ++i) {
      times.push_back(times.back() + uniform(0.001, 0.2));
      longest_frame = std::max(longest_frame, times[times.size() - 1] - times[times.size() - 2]);
    }
    const double end = times.back() + 0.04;
    SceneTiler tiler(max_scene);
    std::vector<SceneSpan> scenes;
    std::size_t next_cut = 0;
    for (std::size_t i = 0; i < times.size(); ++i) {
      // Cuts are reported some frames late.
      if (i >= 3 && uniform(0, 1) < 0.1) {
        const std::size_t cut = std::max(next_cut, i - static_cast<std::size_t>(uniform(0, 3)));
        if (cut <= i) {
          tiler.add_cut(times[cut], scenes);
          next_cut = cut + 1;
        }
      }
      tiler.add_frame(times[i], scenes);
    }
    tiler.finish(end, scenes);
    INFO("round " << round << ", maximum " << max_scene << ", frames " << times.size());
    REQUIRE_FALSE(scenes.empty());
    CHECK(scenes.front().start_s == times.front());
    CHECK(scenes.back().end_s == end);
    for (std::size_t i = 0; i < scenes.size(); ++i) {
      CHECK(scenes[i].start_s < scenes[i].end_s);
      CHECK(std::find(times.begin(), times.end(), scenes[i].start_s) != times.end());
      if (i > 0) CHECK(scenes[i].start_s == scenes[i - 1].end_s);
      if (max_scene > 0)
        CHECK(scenes[i].end_s - scenes[i].start_s <= max_scene + longest_frame + 0.04 + 1e-6);
    }
  }
}

TEST_CASE(
    "scene_tiler: with a maximum, pieces come out before the video ends and the rest is shared evenly") {
  SceneTiler tiler(1.0);
  std::vector<SceneSpan> scenes;
  for (int i = 0; i < 60; ++i) {
    tiler.add_frame(i * kFrameS, scenes);
    if (i == 51) CHECK(scenes.size() == 1);
  }
  tiler.finish(2.4, scenes);
  REQUIRE(scenes.size() == 3);
  CHECK(scenes[0].end_s == Approx(1.0));
  CHECK(scenes[1].end_s == Approx(1.68));  // the frame on screen at 1.7 s
}
