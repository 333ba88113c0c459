#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

/// Scene cuts from a run of small pictures. The definitions, scales and defaults are those of
/// PySceneDetect 0.7, so that thresholds carry over. No file is opened here.
namespace reelfolio::stages {

/// A picture as the detectors see it: 8-bit, blue, green, red, rows from the top, no padding.
struct BgrFrame {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> pixels;  ///< [height, width, 3]
};

enum class DetectorKind { content, adaptive, threshold, histogram, hash };

/// What happens to cuts that follow each other faster than the minimum scene (content only).
enum class CutFilter {
  merge,     ///< a burst of cuts becomes one cut, at its last
  suppress,  ///< cuts are ignored until the minimum has passed
};

/// Weights of the components of the content score, over whose sum of magnitudes it is divided.
struct ContentWeights {
  double hue = 1;
  double saturation = 1;
  double luma = 1;
  double edges = 0;
};

struct DetectorSettings {
  DetectorKind kind = DetectorKind::adaptive;
  /// content: mean change of hue (0..179), saturation and value (0..255); adaptive: ratio of that
  /// score to its neighbours; threshold: mean of the channels below which a frame is dark;
  /// histogram and hash: difference in 0..1. See default_threshold.
  double threshold = 3.0;
  double min_scene_s = 0.6;

  ContentWeights weights;  ///< content, adaptive
  int edge_kernel = 0;     ///< content, adaptive: odd width that edges are grown to; 0: by picture size
  CutFilter filter = CutFilter::merge;  ///< content
  int window = 2;                       ///< adaptive: frames on each side of the one judged
  double min_content = 15.0;            ///< adaptive: content score that a cut has at least
  double fade_bias = 0;                 ///< threshold: -1 cuts at the fade out, 0 halfway, 1 at the fade in
  bool fade_to_white = false;           ///< threshold: fades go above the threshold instead of below
  double min_fade_s = 0;                ///< threshold: a shorter fade makes no cut
  bool final_fade = false;              ///< threshold: a fade out that lasts to the end makes a scene
  int bins = 128;                       ///< histogram
  int hash_size = 8;                    ///< hash: low frequencies kept, in each direction
  int hash_lowpass = 2;  ///< hash: the picture is reduced to hash_size * hash_lowpass; even product
};

double default_threshold(DetectorKind kind);

/// How many pixels have each brightness: the Y of BT.601 in full range, to the number what OpenCV's
/// COLOR_BGR2YUV gives, without the two planes that nothing reads.
std::array<std::uint32_t, 256> luma_histogram(const BgrFrame& frame);

/// State of one pass over one video. Not thread-safe.
///
/// Times are seconds, strictly ascending. A cut is the time of the first frame of the new scene;
/// cuts come in ascending order, some frames after the fact.
class Detector {
 public:
  virtual ~Detector() = default;
  /// Appends to `cuts` what has become certain with this frame. All frames have one size.
  virtual void add_frame(double time_s, const BgrFrame& frame, std::vector<double>& cuts) = 0;
  /// The last frame has been added and ends at `end_s`.
  virtual void finish(double /*end_s*/, std::vector<double>& /*cuts*/) {}
  /// The number that was last compared with the threshold; for histogram the difference
  /// 1 - correlation. Zero before there is one.
  virtual double last_score() const = 0;
};

std::unique_ptr<Detector> make_detector(const DetectorSettings& settings);

}  // namespace reelfolio::stages
