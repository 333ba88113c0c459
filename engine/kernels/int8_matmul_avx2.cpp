#include <immintrin.h>

#include "engine/kernels/int8_matmul.h"

// Compiled for AVX2; called only where the processor has it. The products are formed as
// |x| times (w with x's sign), both at most 127, so that a pair stays within 16 bits.
namespace reelfolio::engine::kernels {
namespace {

/// M rows of x against 32 of the tile's 64 rows of w.
template <int M>
void half_tile(const Int8Args& a, std::size_t tile, std::size_t half, std::size_t first_row) {
  constexpr int kVectors = 4;  // of 8 rows of w
  const __m256i sign = _mm256_set1_epi8(static_cast<char>(0x80));
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i acc[M][kVectors];
  for (int m = 0; m < M; ++m) {
    for (int v = 0; v < kVectors; ++v) acc[m][v] = _mm256_setzero_si256();
  }
  const std::int8_t* w = a.weights + tile * a.input_tiles * 4096 + half * 128;
  const std::uint8_t* x = a.x + first_row * a.x_stride;
  for (std::size_t quad = 0; quad < a.input_tiles * 16; ++quad) {
    __m256i weights[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      weights[v] = _mm256_load_si256(reinterpret_cast<const __m256i*>(w + quad * 256 + v * 32));
    }
    for (int m = 0; m < M; ++m) {
      int four;
      __builtin_memcpy(&four, x + m * a.x_stride + quad * 4, 4);
      const __m256i inputs = _mm256_xor_si256(sign, _mm256_set1_epi32(four));
      const __m256i magnitude = _mm256_abs_epi8(inputs);
      for (int v = 0; v < kVectors; ++v) {
        const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(weights[v], inputs));
        acc[m][v] = _mm256_add_epi32(acc[m][v], _mm256_madd_epi16(pairs, ones));
      }
    }
  }
  for (int m = 0; m < M; ++m) {
    const std::size_t row = first_row + m;
    const __m256 x_scale = _mm256_set1_ps(a.x_scales[row]);
    for (int v = 0; v < kVectors; ++v) {
      const std::size_t column = tile * 64 + half * 32 + v * 8;
      if (column >= a.out) break;
      const __m256 y = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[m][v]),
                                     _mm256_mul_ps(_mm256_loadu_ps(a.row_scales + column), x_scale));
      float values[8];
      _mm256_storeu_ps(values, y);
      const std::size_t count = a.out - column < 8 ? a.out - column : 8;
      for (std::size_t i = 0; i < count; ++i) a.y[row * a.y_stride + column + i] = values[i];
    }
  }
}

}  // namespace

void int8_matmul_avx2(const Int8Args& args) {
  for (std::size_t tile = args.first_tile; tile < args.last_tile; ++tile) {
    for (std::size_t half = 0; half < 2; ++half) {
      std::size_t row = 0;
      for (; row + 2 <= args.rows; row += 2) half_tile<2>(args, tile, half, row);
      if (row < args.rows) half_tile<1>(args, tile, half, row);
    }
  }
}

}  // namespace reelfolio::engine::kernels
