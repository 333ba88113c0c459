#include "engine/soft_token_cache.h"

#include <algorithm>
#include <utility>

namespace reelfolio::engine {

namespace {

std::shared_ptr<const void> object_of(const SoftTokenSource& source) {
  if (source.kind == SoftTokenSource::Kind::audio) return source.clip;
  return source.image;
}

}  // namespace

SoftTokenCache::Tokens SoftTokenCache::find(const SoftTokenSource& source) {
  entries_.remove_if([](const Entry& entry) { return entry.object.expired(); });
  const std::shared_ptr<const void> object = object_of(source);
  // A live weak reference is to this very object: its address cannot have been reused.
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.kind == source.kind && entry.budget == source.budget && entry.object.lock() == object;
  });
  if (found == entries_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found);
  return entries_.front().tokens;
}

void SoftTokenCache::insert(const SoftTokenSource& source, Tokens tokens) {
  entries_.push_front({source.kind, object_of(source), source.budget, std::move(tokens)});
  std::size_t rows = 0;
  for (const Entry& entry : entries_) rows += entry.tokens->rows();
  while (rows > most_rows_ && entries_.size() > 1) {
    rows -= entries_.back().tokens->rows();
    entries_.pop_back();
  }
}

}  // namespace reelfolio::engine
