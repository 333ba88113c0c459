#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "engine/kernels/attention.h"

namespace reelfolio::engine::kernels {

namespace {

constexpr int kRows = 6;  // x 4 vectors = 24 sums; with 4 of b and 1 of a, 29 of 32 registers

__attribute__((noinline)) void multiply(const std::uint8_t* a, const std::int8_t* b, std::int32_t* c) {
  constexpr int kColumns = 4;  // registers of 16
  __m512i sum[kRows][kColumns];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kColumns; ++v) sum[r][v] = _mm512_setzero_si512();
  }
  for (int quad = 0; quad < 16; ++quad) {
    __m512i columns[kColumns];
#pragma GCC unroll 4
    for (int v = 0; v < kColumns; ++v) columns[v] = _mm512_load_si512(b + (quad * 4 + v) * 64);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      int four;
      __builtin_memcpy(&four, a + r * 64 + quad * 4, 4);
      const __m512i inputs = _mm512_set1_epi32(four);
#pragma GCC unroll 4
      for (int v = 0; v < kColumns; ++v) sum[r][v] = _mm512_dpbusd_epi32(sum[r][v], inputs, columns[v]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kColumns; ++v) _mm512_store_si512(c + r * 64 + v * 16, sum[r][v]);
  }
}

#define REELFOLIO_ATTENTION attention_int8_avx512vnni
#define REELFOLIO_ATTENTION_NAME "int8_avx512vnni"
#define REELFOLIO_VECTOR_BYTES 64
#include "engine/kernels/attention_int8.inc"
