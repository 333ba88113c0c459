#include "engine/text/kv_cache.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "engine/kernels/row_kernels.h"
#include "engine/weight_pages.h"

namespace reelfolio::engine::text {

namespace {

/// Behind the integers of an int8 block.
float* scales_of(std::byte* block, std::size_t head_dim) {
  return reinterpret_cast<float*>(block + kPagePositions * head_dim);
}

}  // namespace

/// Blocks: keys of each head, then values of each head. A block is [kPagePositions, head_dim]; of int8 behind
/// that [kPagePositions] f32, the scales.
struct KvCache::Page {
  explicit Page(std::size_t size)
      : bytes(static_cast<std::byte*>(::operator new (size, std::align_val_t{64}))) {}
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;
  ~Page() { ::operator delete (bytes, std::align_val_t{64}); }

  std::byte* bytes;
};

std::string_view kv_type_name(KvType type) {
  return type == KvType::f32 ? "f32" : type == KvType::bf16 ? "bf16" : "int8";
}

std::optional<KvType> find_kv_type(std::string_view name) {
  for (const KvType type : {KvType::f32, KvType::bf16, KvType::int8}) {
    if (kv_type_name(type) == name) return type;
  }
  return std::nullopt;
}

KvType default_kv_type(ops::WeightType weights) {
  if (spares_memory(weights)) return KvType::int8;
  return weights == ops::WeightType::f32 ? KvType::f32 : KvType::bf16;
}

std::size_t KvLayout::block_bytes(std::size_t layer) const {
  const std::size_t values = layers[layer].head_dim * kPagePositions;
  switch (type) {
    case KvType::f32:
      return values * 4;
    case KvType::bf16:
      return values * 2;
    case KvType::int8:
      break;
  }
  return values + kPagePositions * sizeof(float);
}

std::size_t KvLayout::page_bytes(std::size_t layer) const {
  return 2 * layers[layer].num_kv_heads * block_bytes(layer);
}

std::size_t KvLayout::bytes_read(std::size_t layer, std::size_t positions) const {
  const bool is_sliding = layers[layer].type == LayerType::sliding;
  const std::size_t seen = is_sliding ? std::min(positions, sliding_window) : positions;
  return seen * (page_bytes(layer) / kPagePositions);
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
      std::byte* block = bytes + (side * shape.num_kv_heads + head) * layout_->block_bytes(layer);
      const ConstVector from = source.subspan(head * shape.head_dim, shape.head_dim);
      const std::size_t first = slot * shape.head_dim;
      switch (layout_->type) {
        case KvType::f32:
          std::memcpy(block + first * sizeof(float), from.data(), from.size_bytes());
          break;
        case KvType::bf16:
          kernels::row_kernels().f32_to_bf16(from.data(), reinterpret_cast<std::uint16_t*>(block) + first,
                                             from.size());
          break;
        case KvType::int8:
          scales_of(block, shape.head_dim)[slot] = kernels::row_kernels().f32_to_int8(
              from.data(), reinterpret_cast<std::int8_t*>(block) + first, from.size());
          break;
      }
    }
  }
}

const float* KvCache::read(std::size_t layer, std::size_t page, std::size_t block, std::size_t positions,
                           float* scratch) const {
  const KvLayout::Layer& shape = layout_->layers[layer];
  const Layer& stored = layers_[layer];
  assert(page >= stored.first_page && page - stored.first_page < stored.pages.size());
  std::byte* bytes = stored.pages[page - stored.first_page]->bytes + block * layout_->block_bytes(layer);
  switch (layout_->type) {
    case KvType::f32:
      return reinterpret_cast<const float*>(bytes);
    case KvType::bf16:
      kernels::row_kernels().bf16_to_f32(reinterpret_cast<const std::uint16_t*>(bytes), scratch,
                                         positions * shape.head_dim);
      break;
    case KvType::int8:
      kernels::row_kernels().int8_to_f32(reinterpret_cast<const std::int8_t*>(bytes),
                                         scales_of(bytes, shape.head_dim), positions, shape.head_dim,
                                         scratch);
      break;
  }
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
