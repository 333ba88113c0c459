#include "engine/text/kv_cache.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace reelfolio::engine::text {

/// Keys of all heads, then values of all heads; each head is [kPagePositions, head_dim].
struct KvCache::Page {
  explicit Page(std::size_t size)
      : bytes(static_cast<std::byte*>(::operator new (size, std::align_val_t{64}))) {}
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;
  ~Page() { ::operator delete (bytes, std::align_val_t{64}); }

  std::byte* bytes;
};

std::size_t KvLayout::page_bytes(std::size_t layer) const {
  const Layer& l = layers[layer];
  return 2 * l.num_kv_heads * l.head_dim * kPagePositions * (type == KvType::f32 ? 4 : 2);
}

std::size_t KvLayout::bytes_for(std::size_t positions, std::size_t chunk) const {
  const auto pages = [](std::size_t count) { return (count + kPagePositions - 1) / kPagePositions; };
  std::size_t total = 0;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    std::size_t count = pages(positions);
    // A window may begin and end inside a page.
    if (layers[i].type == LayerType::sliding) count = std::min(count, pages(sliding_window + chunk) + 1);
    total += count * page_bytes(i);
  }
  return total;
}

KvCache::KvCache(std::shared_ptr<const KvLayout> layout)
    : layout_(std::move(layout)), layers_(layout_->layers.size()) {}

std::size_t KvCache::memory_bytes() const {
  std::size_t total = 0;
  for (std::size_t i = 0; i < layers_.size(); ++i) total += layers_[i].pages.size() * layout_->page_bytes(i);
  return total;
}

void KvCache::reserve(std::size_t count) {
  if (count == 0) return;
  const std::size_t first = length_ / kPagePositions;
  const std::size_t last = (length_ + count - 1) / kPagePositions;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    Layer& layer = layers_[i];
    const std::size_t size = layout_->page_bytes(i);
    if (layer.pages.empty()) layer.first_page = first;
    // The page that holds the end of the sequence may be shared with a fork.
    if (first < layer.first_page + layer.pages.size()) {
      std::shared_ptr<Page>& page = layer.pages[first - layer.first_page];
      if (page.use_count() > 1) {
        auto own = std::make_shared<Page>(size);
        std::memcpy(own->bytes, page->bytes, size);
        page = std::move(own);
      }
    }
    while (layer.first_page + layer.pages.size() <= last) {
      auto page = std::make_shared<Page>(size);
      // Copies of a page read all of it.
      std::memset(page->bytes, 0, size);
      layer.pages.push_back(std::move(page));
    }
  }
}

void KvCache::commit(std::size_t count) {
  length_ += count;
  const std::size_t window = layout_->sliding_window;
  if (length_ + 1 <= window) return;
  // The next query, at position length_, sees positions from here on.
  const std::size_t first_visible = length_ + 1 - window;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    if (layout_->layers[i].type != LayerType::sliding) continue;
    Layer& layer = layers_[i];
    while (!layer.pages.empty() && (layer.first_page + 1) * kPagePositions <= first_visible) {
      layer.pages.pop_front();
      ++layer.first_page;
    }
  }
}

void KvCache::store(std::size_t layer, std::size_t position, ConstVector key, ConstVector value) {
  const KvLayout::Layer& shape = layout_->layers[layer];
  assert(key.size() == shape.num_kv_heads * shape.head_dim && value.size() == key.size());
  const std::size_t index = position / kPagePositions;
  Layer& stored = layers_[layer];
  assert(index >= stored.first_page && index - stored.first_page < stored.pages.size());
  std::byte* bytes = stored.pages[index - stored.first_page]->bytes;
  const std::size_t slot = position % kPagePositions;
  for (std::size_t side = 0; side < 2; ++side) {
    const ConstVector source = side == 0 ? key : value;
    for (std::size_t head = 0; head < shape.num_kv_heads; ++head) {
      const std::size_t block = side * shape.num_kv_heads + head;
      const std::size_t offset = (block * kPagePositions + slot) * shape.head_dim;
      const float* from = source.data() + head * shape.head_dim;
      std::byte* to = bytes + offset * element_bytes();
      if (layout_->type == KvType::f32) {
        std::memcpy(to, from, shape.head_dim * sizeof(float));
      } else {
        kernels::row_kernels().f32_to_bf16(from, reinterpret_cast<std::uint16_t*>(to), shape.head_dim);
      }
    }
  }
}

const float* KvCache::read(std::size_t layer, std::size_t page, std::size_t block, std::size_t positions,
                           float* scratch) const {
  const KvLayout::Layer& shape = layout_->layers[layer];
  const Layer& stored = layers_[layer];
  assert(page >= stored.first_page && page - stored.first_page < stored.pages.size());
  const std::byte* bytes = stored.pages[page - stored.first_page]->bytes +
                           block * kPagePositions * shape.head_dim * element_bytes();
  if (layout_->type == KvType::f32) return reinterpret_cast<const float*>(bytes);
  kernels::row_kernels().bf16_to_f32(reinterpret_cast<const std::uint16_t*>(bytes), scratch,
                                     positions * shape.head_dim);
  return scratch;
}

const float* KvCache::keys(std::size_t layer, std::size_t page, std::size_t head, std::size_t positions,
                           float* scratch) const {
  return read(layer, page, head, positions, scratch);
}

const float* KvCache::values(std::size_t layer, std::size_t page, std::size_t head, std::size_t positions,
                             float* scratch) const {
  return read(layer, page, layout_->layers[layer].num_kv_heads + head, positions, scratch);
}

}  // namespace reelfolio::engine::text
