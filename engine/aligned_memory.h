#pragma once

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace reelfolio::engine {

struct FreeAligned {
  void operator()(std::byte* p) const { std::free(p); }
};
using AlignedBytes = std::unique_ptr<std::byte[], FreeAligned>;

/// `size` bytes, 64-byte aligned; large ones on 2 MiB pages where the kernel grants them, since
/// streaming weights from 4 KiB pages costs a page walk every 64 lines. Throws bad_alloc.
AlignedBytes allocate_aligned(std::size_t size);

/// Memory for one call, kept for the next. Contents are unspecified.
class Scratch {
 public:
  std::byte* get(std::size_t size) {
    if (size > size_) {
      data_.reset();
      size_ = 0;
      data_ = allocate_aligned(size);
      size_ = size;
    }
    return data_.get();
  }
  template <class T>
  T* get_array(std::size_t count) {
    return reinterpret_cast<T*>(get(count * sizeof(T)));
  }

 private:
  AlignedBytes data_;
  std::size_t size_ = 0;
};

}  // namespace reelfolio::engine
