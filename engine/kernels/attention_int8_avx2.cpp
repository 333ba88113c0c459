#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "engine/kernels/attention.h"

namespace reelfolio::engine::kernels {

namespace {

constexpr int kRows = 6;

/// In 16 bits: a pair of bytes of up to 255 times 127 does not fit what vpmaddubsw keeps.
void multiply(const std::uint8_t* a, const std::int8_t* b, std::int32_t* c) {
  constexpr int kVectors = 8;  // of 4 columns, each with the sums of two pairs
  for (int r = 0; r < kRows; ++r) {
    for (int first = 0; first < 64; first += 4 * kVectors) {
      __m256i sums[kVectors];
      for (int v = 0; v < kVectors; ++v) sums[v] = _mm256_setzero_si256();
      for (int quad = 0; quad < 16; ++quad) {
        int four;
        __builtin_memcpy(&four, a + r * 64 + quad * 4, 4);
        const __m256i inputs = _mm256_cvtepu8_epi16(_mm_set1_epi32(four));
        const std::int8_t* columns = b + (quad * 64 + first) * 4;
        for (int v = 0; v < kVectors; ++v) {
          const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(columns + v * 16));
          sums[v] = _mm256_add_epi32(sums[v], _mm256_madd_epi16(inputs, _mm256_cvtepi8_epi16(bytes)));
        }
      }
      for (int v = 0; v < kVectors; v += 2) {
        // Adds neighbours within 128-bit halves: columns 0 1 4 5 2 3 6 7.
        const __m256i mixed = _mm256_hadd_epi32(sums[v], sums[v + 1]);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(c + r * 64 + first + v * 4),
                            _mm256_permute4x64_epi64(mixed, 0xD8));
      }
    }
  }
}

#define REELFOLIO_ATTENTION attention_int8_avx2
#define REELFOLIO_ATTENTION_NAME "int8_avx2"
#define REELFOLIO_VECTOR_BYTES 32
#include "engine/kernels/attention_int8.inc"
