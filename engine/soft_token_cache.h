#pragma once

#include <cstddef>
#include <list>
#include <memory>

#include "engine/rgb_image.h"
#include "engine/tensor.h"

namespace reelfolio::engine {

/// The soft tokens of the pictures seen last, so that a caption and a question on one
/// picture run the vision tower once even in calls of their own. Holds pictures weakly:
/// what its owner drops is forgotten. One thread at a time.
class SoftTokenCache {
 public:
  using Tokens = std::shared_ptr<const MatrixBuffer>;

  explicit SoftTokenCache(std::size_t capacity) : capacity_(capacity) {}

  /// Null where the pair is not known.
  Tokens find(const std::shared_ptr<const RgbImage>& image, int budget);
  void insert(const std::shared_ptr<const RgbImage>& image, int budget, Tokens tokens);

 private:
  struct Entry {
    std::weak_ptr<const RgbImage> image;
    int budget = 0;
    Tokens tokens;
  };

  std::size_t capacity_;
  std::list<Entry> entries_;  ///< last used first
};

}  // namespace reelfolio::engine
