#include "engine/aligned_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace reelfolio::engine {

namespace {
/// Below twice this a buffer gains nothing from 2 MiB pages.
constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
}  // namespace

AlignedBytes allocate_aligned(std::size_t size) {
  const std::size_t alignment = size >= 2 * kHugePageBytes ? kHugePageBytes : 64;
  const std::size_t rounded = (std::max<std::size_t>(size, 1) + alignment - 1) / alignment * alignment;
  void* data = std::aligned_alloc(alignment, rounded);
  if (data == nullptr) throw std::bad_alloc();
  if (alignment == kHugePageBytes) madvise(data, rounded, MADV_HUGEPAGE);
  return AlignedBytes(static_cast<std::byte*>(data));
}

}  // namespace reelfolio::engine
