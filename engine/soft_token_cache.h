#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <utility>

#include "engine/audio_clip.h"
#include "engine/rgb_image.h"
#include "engine/tensor.h"

namespace reelfolio::engine {

/// What a tower turns into soft tokens. Sources are the same where they hold the same object in
/// the same way.
struct SoftTokenSource {
  enum class Kind { image, video_frame, audio };

  static SoftTokenSource picture(std::shared_ptr<const RgbImage> image, int budget, Kind kind) {
    return {kind, std::move(image), nullptr, budget};
  }
  static SoftTokenSource sound(std::shared_ptr<const AudioClip> clip) {
    return {Kind::audio, nullptr, std::move(clip), 0};
  }
  bool operator==(const SoftTokenSource&) const = default;

  Kind kind = Kind::image;
  std::shared_ptr<const RgbImage> image;  ///< of an image or video frame
  std::shared_ptr<const AudioClip> clip;  ///< of sound
  int budget = 0;                         ///< soft tokens of a picture at most
};

/// The soft tokens of the pictures and sounds met last, so that a caption and a question on one
/// picture run the vision tower once even in calls of their own. Holds the objects weakly:
/// what its owner drops is forgotten. One thread at a time.
class SoftTokenCache {
 public:
  using Tokens = std::shared_ptr<const MatrixBuffer>;

  /// Keeps `most_rows` soft tokens, or one source if that alone has more.
  explicit SoftTokenCache(std::size_t most_rows) : most_rows_(most_rows) {}

  /// Null where the source is not known.
  Tokens find(const SoftTokenSource& source);
  void insert(const SoftTokenSource& source, Tokens tokens);

 private:
  struct Entry {
    SoftTokenSource::Kind kind;
    std::weak_ptr<const void> object;
    int budget = 0;
    Tokens tokens;
  };

  std::size_t most_rows_;
  std::list<Entry> entries_;  ///< last used first
};

}  // namespace reelfolio::engine
