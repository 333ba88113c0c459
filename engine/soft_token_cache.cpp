#include "engine/soft_token_cache.h"

#include <algorithm>
#include <utility>

namespace reelfolio::engine {

SoftTokenCache::Tokens SoftTokenCache::find(const std::shared_ptr<const RgbImage>& image, int budget) {
  entries_.remove_if([](const Entry& entry) { return entry.image.expired(); });
  // A live weak reference is to this very object: its address cannot have been reused.
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.budget == budget && entry.image.lock() == image;
  });
  if (found == entries_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found);
  return entries_.front().tokens;
}

void SoftTokenCache::insert(const std::shared_ptr<const RgbImage>& image, int budget, Tokens tokens) {
  entries_.push_front({image, budget, std::move(tokens)});
  if (entries_.size() > capacity_) entries_.pop_back();
}

}  // namespace reelfolio::engine
