#include "stages/video/detectors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <deque>
#include <limits>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
#include <optional>

namespace reelfolio::stages {
namespace {

// Timestamps are rounded to the stream's time base: fifteen frames of 0.04 s may measure
// 0.59999 s and are still the 0.6 s that were asked for.
constexpr double kTimeSlackS = 1e-4;

bool at_least(double duration_s, double minimum_s) {
  return duration_s >= minimum_s - kTimeSlackS;
}

// OpenCV takes no pointer to const; the pixels are only read.
cv::Mat as_mat(const BgrFrame& frame) {
  return cv::Mat(frame.height, frame.width, CV_8UC3, const_cast<std::uint8_t*>(frame.pixels.data()));
}

double mean_distance(const cv::Mat& a, const cv::Mat& b) {
  return cv::norm(a, b, cv::NORM_L1) / static_cast<double>(a.total());
}

/// Mean change of hue, saturation, value and edges from one picture to the next.
class ContentScorer {
 public:
  ContentScorer(const ContentWeights& weights, int edge_kernel)
      : weights_(weights), edge_kernel_(edge_kernel) {}

  double score(const BgrFrame& frame) {
    cv::cvtColor(as_mat(frame), hsv_, cv::COLOR_BGR2HSV);
    // With equal weights the sum over all three channels is the same number, at a third of the cost.
    if (weights_.hue == weights_.saturation && weights_.hue == weights_.luma && weights_.edges == 0) {
      const double sum = has_before_ ? mean_distance(hsv_, hsv_before_) : 0;
      has_before_ = true;
      cv::swap(hsv_, hsv_before_);
      return sum / 3;
    }
    std::array<cv::Mat, 4>& now = planes_[current_];
    const std::array<cv::Mat, 4>& before = planes_[1 - current_];
    cv::split(hsv_, now.data());
    if (weights_.edges > 0) find_edges(now[2], now[3]);
    current_ = 1 - current_;
    if (!has_before_) {
      has_before_ = true;
      return 0;
    }
    const std::array<double, 4> weights{weights_.hue, weights_.saturation, weights_.luma, weights_.edges};
    double sum = 0;
    double total = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      total += std::abs(weights[i]);
      if (i == 3 && !(weights_.edges > 0)) continue;
      if (weights[i] != 0) sum += weights[i] * mean_distance(now[i], before[i]);
    }
    return sum / total;
  }

 private:
  void find_edges(const cv::Mat& value, cv::Mat& edges) {
    if (kernel_.empty()) {
      int size = edge_kernel_;
      if (size == 0) {
        // A kernel that grows with the picture; nearbyint rounds halves to even.
        size = 4 + static_cast<int>(std::nearbyint(std::sqrt(static_cast<double>(value.total())) / 192));
        if (size % 2 == 0) ++size;
      }
      kernel_ = cv::Mat::ones(size, size, CV_8U);
    }
    const double median = median_of(value);
    const double low = std::floor(std::max(0.0, median * (1.0 - 1.0 / 3.0)));
    const double high = std::floor(std::min(255.0, median * (1.0 + 1.0 / 3.0)));
    cv::Canny(value, edges, low, high);
    cv::dilate(edges, edges, kernel_);
  }

  static double median_of(const cv::Mat& plane) {
    std::array<std::size_t, 256> counts{};
    for (int y = 0; y < plane.rows; ++y) {
      const std::uint8_t* row = plane.ptr<std::uint8_t>(y);
      for (int x = 0; x < plane.cols; ++x) ++counts[row[x]];
    }
    const std::size_t total = plane.total();
    const auto value_at = [&counts](std::size_t rank) {
      std::size_t seen = 0;
      for (std::size_t v = 0; v < counts.size(); ++v) {
        seen += counts[v];
        if (seen > rank) return static_cast<double>(v);
      }
      return 255.0;
    };
    return (value_at((total - 1) / 2) + value_at(total / 2)) / 2;
  }

  ContentWeights weights_;
  int edge_kernel_;
  cv::Mat hsv_;
  cv::Mat hsv_before_;
  cv::Mat kernel_;
  std::array<std::array<cv::Mat, 4>, 2> planes_;  // hue, saturation, value, edges: of this frame and the last
  std::size_t current_ = 0;
  bool has_before_ = false;
};

/// Keeps cuts a minimum scene apart.
class MinimumScene {
 public:
  MinimumScene(CutFilter mode, double length_s) : mode_(mode), length_s_(length_s) {}

  void add(double time_s, bool above, std::vector<double>& cuts) {
    if (length_s_ <= 0) {
      if (above) cuts.push_back(time_s);
      return;
    }
    if (!last_above_) last_above_ = time_s;
    const bool long_enough = at_least(time_s - *last_above_, length_s_);
    if (mode_ == CutFilter::suppress) {
      if (!above || !long_enough) return;
      last_above_ = time_s;
      cuts.push_back(time_s);
      return;
    }
    if (above) last_above_ = time_s;
    if (merging_since_) {
      // A burst ends after a minimum scene of quiet, and only once it has lasted that long itself.
      if (long_enough && !above && at_least(*last_above_ - *merging_since_, length_s_)) {
        merging_since_.reset();
        cuts.push_back(*last_above_);
      }
    } else if (above && long_enough) {
      had_cut_ = true;
      cuts.push_back(time_s);
    } else if (above && had_cut_) {
      merging_since_ = time_s;
    }
  }

 private:
  CutFilter mode_;
  double length_s_;
  std::optional<double> last_above_;  // time of the first frame until one is above the threshold
  std::optional<double> merging_since_;
  bool had_cut_ = false;
};

class ContentDetector : public Detector {
 public:
  explicit ContentDetector(const DetectorSettings& s)
      : scorer_(s.weights, s.edge_kernel), threshold_(s.threshold), filter_(s.filter, s.min_scene_s) {}

  void add_frame(double time_s, const BgrFrame& frame, std::vector<double>& cuts) override {
    score_ = scorer_.score(frame);
    filter_.add(time_s, score_ >= threshold_, cuts);
  }
  double last_score() const override { return score_; }

 private:
  ContentScorer scorer_;
  double threshold_;
  MinimumScene filter_;
  double score_ = 0;
};

class AdaptiveDetector : public Detector {
 public:
  explicit AdaptiveDetector(const DetectorSettings& s)
      : scorer_(s.weights, s.edge_kernel),
        threshold_(s.threshold),
        min_content_(s.min_content),
        min_scene_s_(s.min_scene_s),
        window_(static_cast<std::size_t>(s.window)) {}

  void add_frame(double time_s, const BgrFrame& frame, std::vector<double>& cuts) override {
    constexpr double kMaxRatio = 255;
    if (!last_cut_s_) last_cut_s_ = time_s;
    scores_.push_back({time_s, scorer_.score(frame)});
    // The first and the last `window` frames are never judged: they lack neighbours.
    if (scores_.size() < 2 * window_ + 1) return;
    if (scores_.size() > 2 * window_ + 1) scores_.pop_front();

    const Scored target = scores_[window_];
    double around = 0;
    for (std::size_t i = 0; i < scores_.size(); ++i) {
      if (i != window_) around += scores_[i].score;
    }
    around /= 2.0 * static_cast<double>(window_);
    ratio_ = 0;
    if (around >= 1e-5) {
      ratio_ = std::min(target.score / around, kMaxRatio);
    } else if (target.score >= min_content_) {
      ratio_ = kMaxRatio;
    }
    if (ratio_ >= threshold_ && target.score >= min_content_ &&
        at_least(target.time_s - *last_cut_s_, min_scene_s_)) {
      last_cut_s_ = target.time_s;
      cuts.push_back(target.time_s);
    }
  }
  double last_score() const override { return ratio_; }

 private:
  struct Scored {
    double time_s;
    double score;
  };
  ContentScorer scorer_;
  double threshold_;
  double min_content_;
  double min_scene_s_;
  std::size_t window_;
  std::deque<Scored> scores_;
  std::optional<double> last_cut_s_;
  double ratio_ = 0;
};

class ThresholdDetector : public Detector {
 public:
  explicit ThresholdDetector(const DetectorSettings& s)
      : threshold_(s.threshold),
        bias_(s.fade_bias),
        to_white_(s.fade_to_white),
        min_scene_s_(s.min_scene_s),
        min_fade_s_(s.min_fade_s),
        final_fade_(s.final_fade) {}

  void add_frame(double time_s, const BgrFrame& frame, std::vector<double>& cuts) override {
    const cv::Scalar mean = cv::mean(as_mat(frame));
    mean_ = (mean[0] + mean[1] + mean[2]) / 3;
    const bool faded = to_white_ ? mean_ >= threshold_ : mean_ < threshold_;
    if (!last_cut_s_) last_cut_s_ = time_s;
    last_time_s_ = time_s;
    if (faded) {
      faded_times_s_.push_back(time_s);
      return;
    }
    if (faded_times_s_.empty()) return;
    const double out_s = faded_times_s_.front();
    // A fade at the very start is one out of nothing, and counts.
    if (at_least(time_s - *last_cut_s_, min_scene_s_) && at_least(time_s - out_s, min_fade_s_)) {
      faded_times_s_.push_back(time_s);
      cuts.push_back(nearest(out_s + (time_s - out_s) * (1 + bias_) / 2));
      last_cut_s_ = time_s;
    }
    faded_times_s_.clear();
  }

  void finish(double end_s, std::vector<double>& cuts) override {
    if (!final_fade_ || faded_times_s_.empty()) return;
    if (at_least(last_time_s_ - *last_cut_s_, min_scene_s_) &&
        at_least(end_s - faded_times_s_.front(), min_fade_s_)) {
      cuts.push_back(faded_times_s_.front());
    }
  }
  double last_score() const override { return mean_; }

 private:
  double nearest(double time_s) const {
    return *std::min_element(faded_times_s_.begin(), faded_times_s_.end(), [time_s](double a, double b) {
      return std::abs(a - time_s) < std::abs(b - time_s);
    });
  }

  double threshold_;
  double bias_;
  bool to_white_;
  double min_scene_s_;
  double min_fade_s_;
  bool final_fade_;
  std::vector<double> faded_times_s_;  // of the fade that is going on
  std::optional<double> last_cut_s_;
  double last_time_s_ = 0;
  double mean_ = 0;
};

class HistogramDetector : public Detector {
 public:
  explicit HistogramDetector(const DetectorSettings& s)
      : threshold_(std::clamp(s.threshold, 0.0, 1.0)),
        min_scene_s_(s.min_scene_s),
        bins_(static_cast<std::size_t>(s.bins)) {}

  void add_frame(double time_s, const BgrFrame& frame, std::vector<double>& cuts) override {
    if (!last_cut_s_) last_cut_s_ = time_s;
    std::vector<double> counts(bins_, 0.0);
    const std::array<std::uint32_t, 256> by_value = luma_histogram(frame);
    for (std::size_t v = 0; v < by_value.size(); ++v) counts[v * bins_ / 256] += by_value[v];
    if (!before_.empty()) {
      difference_ = 1 - correlation(before_, counts);
      if (difference_ >= threshold_ && at_least(time_s - *last_cut_s_, min_scene_s_)) {
        cuts.push_back(time_s);
        last_cut_s_ = time_s;
      }
    }
    before_ = std::move(counts);
  }
  double last_score() const override { return difference_; }

 private:
  static double correlation(const std::vector<double>& a, const std::vector<double>& b) {
    const double n = static_cast<double>(a.size());
    double sum_a = 0, sum_b = 0, sum_ab = 0, sum_aa = 0, sum_bb = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      sum_a += a[i];
      sum_b += b[i];
      sum_ab += a[i] * b[i];
      sum_aa += a[i] * a[i];
      sum_bb += b[i] * b[i];
    }
    const double spread = (sum_aa - sum_a * sum_a / n) * (sum_bb - sum_b * sum_b / n);
    // Two flat histograms are as alike as can be.
    return spread > std::numeric_limits<double>::epsilon() ? (sum_ab - sum_a * sum_b / n) / std::sqrt(spread)
                                                           : 1.0;
  }

  double threshold_;
  double min_scene_s_;
  std::size_t bins_;
  std::vector<double> before_;
  std::optional<double> last_cut_s_;
  double difference_ = 0;
};

/// Perceptual hash: the signs, about their median, of the low frequencies of a tiny grey picture.
class HashDetector : public Detector {
 public:
  explicit HashDetector(const DetectorSettings& s)
      : threshold_(s.threshold), min_scene_s_(s.min_scene_s), size_(s.hash_size), lowpass_(s.hash_lowpass) {}

  void add_frame(double time_s, const BgrFrame& frame, std::vector<double>& cuts) override {
    if (!last_cut_s_) last_cut_s_ = time_s;
    std::vector<bool> bits = hash(frame);
    if (!before_.empty()) {
      int different = 0;
      for (std::size_t i = 0; i < bits.size(); ++i) different += bits[i] != before_[i] ? 1 : 0;
      distance_ = static_cast<double>(different) / (size_ * size_);
      if (distance_ >= threshold_ && at_least(time_s - *last_cut_s_, min_scene_s_)) {
        cuts.push_back(time_s);
        last_cut_s_ = time_s;
      }
    }
    before_ = std::move(bits);
  }
  double last_score() const override { return distance_; }

 private:
  std::vector<bool> hash(const BgrFrame& frame) {
    cv::cvtColor(as_mat(frame), grey_, cv::COLOR_BGR2GRAY);
    const int side = size_ * lowpass_;
    cv::resize(grey_, small_, cv::Size(side, side), 0, 0, cv::INTER_AREA);
    double brightest = 0;
    cv::minMaxLoc(small_, nullptr, &brightest);
    small_.convertTo(scaled_, CV_32F);
    scaled_ /= std::max(brightest, 1.0);
    cv::dct(scaled_, frequencies_);

    std::vector<float> low;
    for (int y = 0; y < size_; ++y) {
      const float* row = frequencies_.ptr<float>(y);
      low.insert(low.end(), row, row + size_);
    }
    std::vector<float> sorted = low;
    std::sort(sorted.begin(), sorted.end());
    const float median = (sorted[(sorted.size() - 1) / 2] + sorted[sorted.size() / 2]) / 2;
    std::vector<bool> bits;
    for (const float value : low) bits.push_back(value > median);
    return bits;
  }

  double threshold_;
  double min_scene_s_;
  int size_;
  int lowpass_;
  cv::Mat grey_, small_, scaled_, frequencies_;
  std::vector<bool> before_;
  std::optional<double> last_cut_s_;
  double distance_ = 0;
};

}  // namespace

std::array<std::uint32_t, 256> luma_histogram(const BgrFrame& frame) {
  constexpr std::uint32_t kShift = 14, kHalf = 1U << (kShift - 1);
  constexpr std::uint32_t kBlue = 1868, kGreen = 9617, kRed = 4899;  // 0.114, 0.587, 0.299
  const std::size_t total = static_cast<std::size_t>(frame.width) * frame.height;
  const std::uint8_t* pixel = frame.pixels.data();
  // Neighbouring pixels are alike: tables that take turns keep one count from waiting for the last.
  constexpr std::size_t kTables = 4, kBlock = 256;
  std::array<std::array<std::uint32_t, 256>, kTables> tables{};
  std::array<std::uint8_t, kBlock> luma;
  for (std::size_t begin = 0; begin < total; begin += kBlock) {
    const std::size_t count = std::min(kBlock, total - begin);
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint8_t* p = pixel + 3 * (begin + i);
      luma[i] = static_cast<std::uint8_t>((kBlue * p[0] + kGreen * p[1] + kRed * p[2] + kHalf) >> kShift);
    }
    for (std::size_t i = 0; i < count; ++i) ++tables[i % kTables][luma[i]];
  }
  for (std::size_t t = 1; t < kTables; ++t) {
    for (std::size_t v = 0; v < tables[0].size(); ++v) tables[0][v] += tables[t][v];
  }
  return tables[0];
}

double default_threshold(DetectorKind kind) {
  switch (kind) {
    case DetectorKind::content:
      return 27.0;
    case DetectorKind::adaptive:
      return 3.0;
    case DetectorKind::threshold:
      return 12.0;
    case DetectorKind::histogram:
      return 0.20;
    case DetectorKind::hash:
      break;
  }
  return 0.35;
}

std::unique_ptr<Detector> make_detector(const DetectorSettings& settings) {
  switch (settings.kind) {
    case DetectorKind::content:
      return std::make_unique<ContentDetector>(settings);
    case DetectorKind::adaptive:
      return std::make_unique<AdaptiveDetector>(settings);
    case DetectorKind::threshold:
      return std::make_unique<ThresholdDetector>(settings);
    case DetectorKind::histogram:
      return std::make_unique<HistogramDetector>(settings);
    case DetectorKind::hash:
      break;
  }
  return std::make_unique<HashDetector>(settings);
}

}  // namespace reelfolio::stages
