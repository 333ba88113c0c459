#include <immintrin.h>

#include "engine/kernels/lowbit_matmul.h"

// Compiled for AVX2; called only where the processor has it.
//
// vpmaddubsw adds pairs of unsigned x signed products in 16 bits and saturates. With
// |x| as the unsigned side and the level, given x's sign, as the signed side, both at most
// 127, a pair is at most 32,258: exact.
namespace reelfolio::engine::kernels {
namespace {

inline __m256i two_tables(const LowBitArgs& a, const std::uint8_t* multipliers) {
  const __m128i low = _mm_load_si128(reinterpret_cast<const __m128i*>(a.levels[multipliers[0]]));
  const __m128i high = _mm_load_si128(reinterpret_cast<const __m128i*>(a.levels[multipliers[1]]));
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

/// The eight parts of two rows' sums, four each, to columns n and n + 1 of y.
inline void store_sums(const LowBitArgs& a, __m256i parts, std::size_t n, std::size_t row) {
  __m256i s = _mm256_add_epi32(parts, _mm256_shuffle_epi32(parts, 0xB1));
  s = _mm256_add_epi32(s, _mm256_shuffle_epi32(s, 0x4E));
  const std::int32_t sums[2] = {_mm256_cvtsi256_si32(s), _mm256_extract_epi32(s, 4)};
  for (std::size_t i = 0; i < 2 && n + i < a.out; ++i) {
    a.y[row * a.y_stride + n + i] = static_cast<float>(sums[i]) * (a.row_scales[n + i] * a.x_scales[row]);
  }
}

/// M rows of x, from first_row on, against B blocks: what is made of the inputs serves all blocks, what is
/// made of the weights all rows. Weights come from memory: while the first rows meet these blocks, the next B
/// are fetched.
template <int Bits, int B, int M>
void tile(const LowBitArgs& a, std::size_t block, std::size_t first_row) {
  constexpr int kFields = 8 / Bits;
  constexpr int kChunks = 128 / (16 * kFields);
  const __m256i nibble = _mm256_set1_epi8(0x0F);
  const __m256i sign = _mm256_set1_epi8(static_cast<char>(0x80));
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i acc[B][2][M];  // of each block rows 0-1 and 2-3
  for (int b = 0; b < B; ++b) {
    for (int m = 0; m < M; ++m) acc[b][0][m] = acc[b][1][m] = _mm256_setzero_si256();
  }
  const std::size_t block_bytes = a.groups * kChunks * 64;
  const std::uint8_t* codes = a.codes + block * block_bytes;
  const std::uint8_t* multipliers = a.multipliers + block * a.groups * 4;
  const std::uint8_t* x = a.x + first_row * a.x_stride;
  for (std::size_t g = 0; g < a.groups; ++g) {
    __m256i table[B][2];
    for (int b = 0; b < B; ++b) {
      for (int h = 0; h < 2; ++h) table[b][h] = two_tables(a, multipliers + b * a.groups * 4 + 2 * h);
    }
    for (int c = 0; c < kChunks; ++c) {
      __m256i packed[B][2];
      for (int b = 0; b < B; ++b) {
        const std::uint8_t* chunk = codes + b * block_bytes + c * 64;
        if (first_row == 0) {
          _mm_prefetch(reinterpret_cast<const char*>(chunk + B * block_bytes), _MM_HINT_T1);
        }
        for (int h = 0; h < 2; ++h) {
          packed[b][h] = _mm256_load_si256(reinterpret_cast<const __m256i*>(chunk + h * 32));
        }
      }
      for (int j = 0; j < kFields; ++j) {
        __m256i weights[B][2];
        for (int b = 0; b < B; ++b) {
          for (int h = 0; h < 2; ++h) {
            weights[b][h] = _mm256_shuffle_epi8(table[b][h], _mm256_and_si256(packed[b][h], nibble));
            packed[b][h] = _mm256_srli_epi16(packed[b][h], Bits);
          }
        }
        for (int m = 0; m < M; ++m) {
          // Flipping the top bit turns byte into byte - 128.
          const __m256i inputs = _mm256_xor_si256(
              sign, _mm256_broadcastsi128_si256(_mm_loadu_si128(
                        reinterpret_cast<const __m128i*>(x + m * a.x_stride + (c * kFields + j) * 16))));
          const __m256i magnitude = _mm256_abs_epi8(inputs);
          for (int b = 0; b < B; ++b) {
            for (int h = 0; h < 2; ++h) {
              const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(weights[b][h], inputs));
              acc[b][h][m] = _mm256_add_epi32(acc[b][h][m], _mm256_madd_epi16(pairs, ones));
            }
          }
        }
      }
    }
    codes += kChunks * 64;
    multipliers += 4;
    x += 128;
  }
  for (int b = 0; b < B; ++b) {
    for (int h = 0; h < 2; ++h) {
      for (int m = 0; m < M; ++m) store_sums(a, acc[b][h][m], (block + b) * 4 + 2 * h, first_row + m);
    }
  }
}

template <int Bits>
void all_rows(const LowBitArgs& a) {
  std::size_t block = a.first_block;
  for (; a.rows == 1 && block + 2 <= a.last_block; block += 2) tile<Bits, 2, 1>(a, block, 0);
  for (; block < a.last_block; ++block) {
    std::size_t row = 0;
    for (; row + 4 <= a.rows; row += 4) tile<Bits, 1, 4>(a, block, row);
    for (; row < a.rows; ++row) tile<Bits, 1, 1>(a, block, row);
  }
}

template <int Bits>
void expand(const LowBitArgs& a, std::int8_t* tiles) {
  constexpr int kFields = 8 / Bits;
  constexpr int kChunks = 128 / (16 * kFields);
  const __m256i nibble = _mm256_set1_epi8(0x0F);
  for (std::size_t block = a.first_block; block < a.last_block; ++block) {
    const std::size_t n = (block - a.first_block) * 4;
    std::int8_t* rows = tiles + n / 64 * a.groups * 2 * 4096 + n % 64 * 4;
    for (std::size_t g = 0; g < a.groups; ++g) {
      const std::uint8_t* multipliers = a.multipliers + (block * a.groups + g) * 4;
      const std::uint8_t* codes = a.codes + (block * a.groups + g) * kChunks * 64;
      const __m256i tables[2] = {two_tables(a, multipliers), two_tables(a, multipliers + 2)};
      for (int c = 0; c < kChunks; ++c) {
        __m256i packed[2];
        for (int h = 0; h < 2; ++h) {
          packed[h] = _mm256_load_si256(reinterpret_cast<const __m256i*>(codes + c * 64 + h * 32));
        }
        for (int j = 0; j < kFields; ++j) {
          __m128i row[4];
          for (int h = 0; h < 2; ++h) {
            const __m256i levels = _mm256_shuffle_epi8(tables[h], _mm256_and_si256(packed[h], nibble));
            packed[h] = _mm256_srli_epi16(packed[h], Bits);
            row[2 * h] = _mm256_castsi256_si128(levels);
            row[2 * h + 1] = _mm256_extracti128_si256(levels, 1);
          }
          // From 4 rows of 4 quads of inputs to 4 quads of 4 rows: the order inside a tile.
          const __m128i low01 = _mm_unpacklo_epi32(row[0], row[1]);
          const __m128i low23 = _mm_unpacklo_epi32(row[2], row[3]);
          const __m128i high01 = _mm_unpackhi_epi32(row[0], row[1]);
          const __m128i high23 = _mm_unpackhi_epi32(row[2], row[3]);
          const std::size_t quad = g * 32 + (c * kFields + j) * 4;
          std::int8_t* target = rows + quad / 16 * 4096 + quad % 16 * 256;
          const __m128i quads[4] = {_mm_unpacklo_epi64(low01, low23), _mm_unpackhi_epi64(low01, low23),
                                    _mm_unpacklo_epi64(high01, high23), _mm_unpackhi_epi64(high01, high23)};
          for (int q = 0; q < 4; ++q) {
            _mm_storeu_si128(reinterpret_cast<__m128i*>(target + q * 256), quads[q]);
          }
        }
      }
    }
  }
}

}  // namespace

void lowbit_expand_avx2(const LowBitArgs& args, std::int8_t* tiles) {
  args.bits == 4 ? expand<4>(args, tiles) : expand<2>(args, tiles);
}

void lowbit_matmul_avx2(const LowBitArgs& args) {
  args.bits == 4 ? all_rows<4>(args) : all_rows<2>(args);
}

}  // namespace reelfolio::engine::kernels
