#include <immintrin.h>

#include "engine/kernels/lowbit_matmul.h"

// Compiled for AVX-512 F/BW/VL and VNNI; called only where the processor has them.
//
// A 512-bit register holds 16 inputs of each of the 4 rows of a block, one row a 128-bit
// lane: the byte shuffle that turns codes into levels works within lanes, so each row
// brings its own table. vpdpbusd multiplies unsigned by signed bytes: activations carry
// +128, which the sum of the levels takes off again at the end.
namespace reelfolio::engine::kernels {
namespace {

template <int Bits>
inline __m512i level_table(const LowBitArgs& a, const std::uint8_t* multipliers) {
  const auto lane = [&](int r) {
    return _mm_load_si128(reinterpret_cast<const __m128i*>(a.levels[multipliers[r]]));
  };
  __m512i table = _mm512_castsi128_si512(lane(0));
  table = _mm512_inserti32x4(table, lane(1), 1);
  table = _mm512_inserti32x4(table, lane(2), 2);
  return _mm512_inserti32x4(table, lane(3), 3);
}

/// M rows of activations against Blocks blocks of weights, all inputs. Each level that is looked up
/// serves M products and each input that is loaded Blocks of them.
template <int Bits, int M, int Blocks>
void tile(const LowBitArgs& a, std::size_t block, std::size_t first_row) {
  constexpr int kFields = 8 / Bits;
  constexpr int kChunks = 128 / (16 * kFields);
  const __m512i nibble = _mm512_set1_epi8(0x0F);
  // A lone sum would wait for its own last addition; integers may be added in any order.
  constexpr int kChains = M * Blocks == 1 ? 2 : 1;
  __m512i acc[Blocks][M][kChains];
#pragma GCC unroll 16
  for (int b = 0; b < Blocks; ++b) {
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      for (int i = 0; i < kChains; ++i) acc[b][m][i] = _mm512_setzero_si512();
    }
  }
  const std::uint8_t* x = a.x + first_row * a.x_stride;
  const std::size_t group_bytes = kChunks * 64;
  // A hardware prefetcher follows one block's bytes, not several blocks' at once: fetch what the next
  // tile reads at this place, or nearer where that would leave the second-level cache.
  constexpr std::size_t kFarthest = 64;
  const std::size_t ahead = a.groups * Blocks < kFarthest ? a.groups * Blocks : kFarthest;
  for (std::size_t g = 0; g < a.groups; ++g) {
    __m512i table[Blocks];
    const std::uint8_t* codes[Blocks];
#pragma GCC unroll 16
    for (int b = 0; b < Blocks; ++b) {
      table[b] = level_table<Bits>(a, a.multipliers + ((block + b) * a.groups + g) * 4);
      codes[b] = a.codes + ((block + b) * a.groups + g) * group_bytes;
      if constexpr (Blocks > 1) {
#pragma GCC unroll 4
        for (int c = 0; c < kChunks; ++c) {
          _mm_prefetch(reinterpret_cast<const char*>(codes[b] + ahead * group_bytes + c * 64), _MM_HINT_T0);
        }
      }
    }
#pragma GCC unroll 16
    for (int c = 0; c < kChunks; ++c) {
      __m512i packed[Blocks];
#pragma GCC unroll 16
      for (int b = 0; b < Blocks; ++b) packed[b] = _mm512_load_si512(codes[b] + c * 64);
#pragma GCC unroll 16
      for (int j = 0; j < kFields; ++j) {
        __m512i weights[Blocks];
#pragma GCC unroll 16
        for (int b = 0; b < Blocks; ++b) {
          // Bits above the field stay in for 2-bit codes: the table repeats every four entries.
          weights[b] = _mm512_shuffle_epi8(table[b], _mm512_and_si512(packed[b], nibble));
          packed[b] = _mm512_srli_epi16(packed[b], Bits);
        }
#pragma GCC unroll 16
        for (int m = 0; m < M; ++m) {
          const __m512i inputs = _mm512_broadcast_i32x4(_mm_loadu_si128(
              reinterpret_cast<const __m128i*>(x + m * a.x_stride + g * 128 + (c * kFields + j) * 16)));
#pragma GCC unroll 16
          for (int b = 0; b < Blocks; ++b) {
            acc[b][m][j % kChains] = _mm512_dpbusd_epi32(acc[b][m][j % kChains], inputs, weights[b]);
          }
        }
      }
    }
  }
#pragma GCC unroll 16
  for (int b = 0; b < Blocks; ++b) {
    const std::size_t n = (block + b) * 4;
    const __m128 row_scales = _mm_loadu_ps(a.row_scales + n);
    const __m128i offset =
        _mm_slli_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a.row_sums + n)), 7);
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      // Sum the four 32-bit parts of each lane, then gather the lanes' first elements.
      __m512i s = acc[b][m][0];
      if constexpr (kChains == 2) s = _mm512_add_epi32(s, acc[b][m][1]);
      s = _mm512_add_epi32(s, _mm512_shuffle_epi32(s, _MM_PERM_CDAB));
      s = _mm512_add_epi32(s, _mm512_shuffle_epi32(s, _MM_PERM_BADC));
      const __m512i lanes = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
      __m128i sums = _mm512_castsi512_si128(_mm512_permutexvar_epi32(lanes, s));
      const std::size_t row = first_row + m;
      sums = _mm_sub_epi32(sums, offset);
      const __m128 y =
          _mm_mul_ps(_mm_cvtepi32_ps(sums), _mm_mul_ps(row_scales, _mm_set1_ps(a.x_scales[row])));
      const std::size_t left = a.out - n;
      const auto mask = static_cast<__mmask8>(left >= 4 ? 0xF : (1U << left) - 1);
      _mm_mask_storeu_ps(a.y + row * a.y_stride + n, mask, y);
    }
  }
}

/// M rows over all blocks, several blocks at a time while registers last: 8 x 3 sums, 3 tables, 3
/// weights and an input are 31 of 32.
template <int Bits, int M>
void rows_tile(const LowBitArgs& a, std::size_t first_row) {
  // A single row is bound by memory; one block after the other is read fastest.
  constexpr int kBlocks = M == 1 ? 1 : M <= 5 ? 4 : 3;
  std::size_t block = a.first_block;
  for (; block + kBlocks <= a.last_block; block += kBlocks) tile<Bits, M, kBlocks>(a, block, first_row);
  for (; block < a.last_block; ++block) tile<Bits, M, 1>(a, block, first_row);
}

template <int Bits>
void all_rows(const LowBitArgs& a) {
  // Blocks of weights that stay in a near cache while every tile of rows passes.
  constexpr std::size_t kBlocksPerPass = 12;
  constexpr std::size_t kPassRows = 8;
  const std::size_t passes = (a.rows + kPassRows - 1) / kPassRows;
  for (std::size_t start = a.first_block; start < a.last_block; start += kBlocksPerPass) {
    LowBitArgs pass = a;
    pass.first_block = start;
    pass.last_block = start + kBlocksPerPass < a.last_block ? start + kBlocksPerPass : a.last_block;
    std::size_t row = 0;
    for (std::size_t i = 0; i < passes; ++i) {
      const std::size_t rows = (a.rows - row + passes - i - 1) / (passes - i);
      switch (rows) {
        case 1:
          rows_tile<Bits, 1>(pass, row);
          break;
        case 2:
          rows_tile<Bits, 2>(pass, row);
          break;
        case 3:
          rows_tile<Bits, 3>(pass, row);
          break;
        case 4:
          rows_tile<Bits, 4>(pass, row);
          break;
        case 5:
          rows_tile<Bits, 5>(pass, row);
          break;
        case 6:
          rows_tile<Bits, 6>(pass, row);
          break;
        case 7:
          rows_tile<Bits, 7>(pass, row);
          break;
        default:
          rows_tile<Bits, 8>(pass, row);
          break;
      }
      row += rows;
    }
  }
}

template <int Bits>
void expand(const LowBitArgs& a, std::int8_t* tiles) {
  constexpr int kFields = 8 / Bits;
  constexpr int kChunks = 128 / (16 * kFields);
  const __m512i nibble = _mm512_set1_epi8(0x0F);
  // From 4 rows of 4 quads of inputs to 4 quads of 4 rows: the order inside a tile.
  const __m512i transpose = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  for (std::size_t block = a.first_block; block < a.last_block; ++block) {
    const std::size_t n = (block - a.first_block) * 4;
    std::int8_t* rows = tiles + n / 64 * a.groups * 2 * 4096 + n % 64 * 4;
    for (std::size_t g = 0; g < a.groups; ++g) {
      const __m512i table = level_table<Bits>(a, a.multipliers + (block * a.groups + g) * 4);
      const std::uint8_t* codes = a.codes + (block * a.groups + g) * kChunks * 64;
      for (int c = 0; c < kChunks; ++c) {
        __m512i packed = _mm512_load_si512(codes + c * 64);
        for (int j = 0; j < kFields; ++j) {
          const __m512i levels = _mm512_permutexvar_epi32(
              transpose, _mm512_shuffle_epi8(table, _mm512_and_si512(packed, nibble)));
          packed = _mm512_srli_epi16(packed, Bits);
          const std::size_t quad = g * 32 + (c * kFields + j) * 4;
          std::int8_t* target = rows + quad / 16 * 4096 + quad % 16 * 256;
          _mm_storeu_si128(reinterpret_cast<__m128i*>(target), _mm512_castsi512_si128(levels));
          _mm_storeu_si128(reinterpret_cast<__m128i*>(target + 256), _mm512_extracti32x4_epi32(levels, 1));
          _mm_storeu_si128(reinterpret_cast<__m128i*>(target + 512), _mm512_extracti32x4_epi32(levels, 2));
          _mm_storeu_si128(reinterpret_cast<__m128i*>(target + 768), _mm512_extracti32x4_epi32(levels, 3));
        }
      }
    }
  }
}

}  // namespace

void lowbit_expand_avx512vnni(const LowBitArgs& args, std::int8_t* tiles) {
  args.bits == 4 ? expand<4>(args, tiles) : expand<2>(args, tiles);
}

void lowbit_matmul_avx512vnni(const LowBitArgs& args) {
  args.bits == 4 ? all_rows<4>(args) : all_rows<2>(args);
}

}  // namespace reelfolio::engine::kernels
