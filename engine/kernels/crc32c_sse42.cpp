#include <nmmintrin.h>

#include <cstring>

#include "engine/kernels/crc32c.h"

namespace reelfolio::engine::kernels {
namespace {

std::uint64_t word_at(const std::byte* data) {
  std::uint64_t word;
  std::memcpy(&word, data, sizeof word);
  return word;
}

/// Sums of N stretches, `stride` bytes apart. The instruction takes three cycles and starts every one:
/// several stretches side by side keep it busy.
template <std::size_t N>
void crc32c_side_by_side(const std::byte* data, std::size_t stride, std::size_t size, std::uint32_t* sums) {
  std::uint64_t sum[N];
  for (std::size_t n = 0; n < N; ++n) sum[n] = 0xFFFFFFFFU;
  std::size_t i = 0;
  for (; i + 8 <= size; i += 8) {
    for (std::size_t n = 0; n < N; ++n) sum[n] = _mm_crc32_u64(sum[n], word_at(data + n * stride + i));
  }
  for (; i < size; ++i) {
    for (std::size_t n = 0; n < N; ++n) {
      sum[n] =
          _mm_crc32_u8(static_cast<std::uint32_t>(sum[n]), static_cast<unsigned char>(data[n * stride + i]));
    }
  }
  for (std::size_t n = 0; n < N; ++n) sums[n] = ~static_cast<std::uint32_t>(sum[n]);
}

}  // namespace

void crc32c_sse42(const std::byte* data, std::size_t size, std::size_t count, std::uint32_t* sums) {
  std::size_t i = 0;
  for (; i + 4 <= count; i += 4) crc32c_side_by_side<4>(data + i * size, size, size, sums + i);
  for (; i < count; ++i) crc32c_side_by_side<1>(data + i * size, size, size, sums + i);
}

}  // namespace reelfolio::engine::kernels
