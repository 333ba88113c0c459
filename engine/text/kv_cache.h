#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <vector>

#include "engine/config.h"
#include "engine/kernels/row_kernels.h"
#include "engine/tensor.h"
#include "engine/text/kv_type.h"

namespace reelfolio::engine::text {

/// Positions of one page, on a fixed grid of absolute positions: attention works
/// through keys page by page, so a result does not depend on how the cache was filled.
inline constexpr std::size_t kPagePositions = kernels::kTileKeys;

/// What a cache must know of the model: one entry for each layer that has keys and
/// values of its own.
struct KvLayout {
  struct Layer {
    LayerType type = LayerType::full;
    std::size_t num_kv_heads = 0;
    std::size_t head_dim = 0;
  };
  std::vector<Layer> layers;
  std::size_t sliding_window = 0;
  KvType type = KvType::f32;

  /// Bytes of one head's keys, or values, of one page.
  std::size_t block_bytes(std::size_t layer) const;
  /// Bytes of one page of a layer: keys and values of kPagePositions positions.
  std::size_t page_bytes(std::size_t layer) const;
  /// Bytes of a layer's keys and values, scales included, that a query reads behind `positions` positions.
  std::size_t bytes_read(std::size_t layer, std::size_t positions) const;
  /// Upper bound for a sequence of `positions` positions, prefilled in chunks of at most
  /// `chunk`: known before any work.
  std::size_t bytes_for(std::size_t positions, std::size_t chunk) const;
};

/// The keys and values of one sequence, after norm and rope.
///
/// Full layers keep all positions, in pages that are added as the sequence grows.
/// Sliding layers drop a page once the window has left it: between two steps they
/// hold the last sliding_window - 1 positions, rounded up to pages; a chunk of a
/// prompt adds its own positions while it is processed, however long it is.
///
/// A fork shares its pages with the original; whichever appends to a shared page
/// copies it first. Pages are counted, so either may be destroyed first. One thread
/// at a time for a cache and its forks together.
class KvCache {
 public:
  explicit KvCache(std::shared_ptr<const KvLayout> layout);

  /// Positions stored: the next token's position.
  std::size_t length() const { return length_; }

  /// A cache with the same contents that grows on its own.
  KvCache fork() const { return *this; }

  KvCache(KvCache&&) noexcept = default;
  KvCache& operator=(KvCache&&) noexcept = default;

  /// Bytes of this cache's pages, shared ones included.
  std::size_t memory_bytes() const;

  /// For the decoder: make room for `count` further positions; store rows; then commit,
  /// which counts the positions in and drops what the window has left.
  void reserve(std::size_t count);
  void commit(std::size_t count);
  /// Stores key and value [num_kv_heads * head_dim] of `position`, which must be reserved.
  /// Different positions may be stored from different threads.
  void store(std::size_t layer, std::size_t position, ConstVector key, ConstVector value);

  /// The keys or values [kPagePositions, head_dim] of one head in page `page`
  /// (positions page * kPagePositions ...), as f32: in place or converted to `scratch`,
  /// which holds kPagePositions * head_dim floats. The first `positions` rows are valid.
  const float* keys(std::size_t layer, std::size_t page, std::size_t head, std::size_t positions,
                    float* scratch) const;
  const float* values(std::size_t layer, std::size_t page, std::size_t head, std::size_t positions,
                      float* scratch) const;

  const KvLayout& layout() const { return *layout_; }

 private:
  struct Page;
  struct Layer {
    std::deque<std::shared_ptr<Page>> pages;
    std::size_t first_page = 0;  ///< page index of pages.front()
  };

  KvCache(const KvCache&) = default;
  KvCache& operator=(const KvCache&) = delete;
  const float* read(std::size_t layer, std::size_t page, std::size_t block, std::size_t positions,
                    float* scratch) const;

  std::shared_ptr<const KvLayout> layout_;
  std::vector<Layer> layers_;
  std::size_t length_ = 0;
};

}  // namespace reelfolio::engine::text
