#include <immintrin.h>

#include "engine/kernels/int8_matmul.h"
#include "engine/kernels/int8_passes.inc"

// Compiled for AVX-512 F/BW/VL and VNNI; called only where the processor has them.
//
// vpdpbusd multiplies four unsigned bytes (activations, which carry +128) by four signed ones
// (weights) and adds them to a 32-bit sum. A tile's quad of inputs is 256 bytes: four registers of
// 16 weight rows. Six rows of activations against those four registers are 24 sums; with the
// weights and the broadcast input, 29 of 32 registers.
//
// Few rows: weights come from memory. Inputs are taken in segments, so that a segment of a tile's
// weights stays in the first-level cache while all rows pass over it; the sums wait in memory in
// between. While one segment is multiplied the next is fetched: all passes together touch each of
// its lines once.
//
// Many rows: a tile's weights lie in the second-level cache, whose bandwidth is three times what six
// rows at a time need, so sums stay in registers from the first input to the last.
namespace reelfolio::engine::kernels {
namespace {

constexpr int kVectors = 4;        // of 16 weight rows: a tile
constexpr int kPassRows = 6;       // at most, of activations
constexpr int kSegmentQuads = 64;  // 16 KiB of weights

/// R rows of x against one segment; fetches kFetch lines for each quad.
///
/// Not inlined: in one function with its other instances GCC 12 keeps the sums in memory.
template <int R, int kFetch>
__attribute__((noinline)) void multiply(const Segment& s) {
  const auto kept = static_cast<__mmask16>(s.first ? 0 : 0xFFFF);
  __m512i sum[R][kVectors];
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      sum[r][v] = _mm512_maskz_load_epi32(kept, s.sums + r * 64 + v * 16);
    }
  }
  const std::int8_t* weights = s.weights;
  const std::uint8_t* x = s.x;
  const std::size_t x_stride = s.x_stride;
  const char* next = s.next;
  for (int q = s.quads; q > 0; --q) {
    __m512i w[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) w[v] = _mm512_load_si512(weights + v * 64);
#pragma GCC unroll 4
    for (int f = 0; f < kFetch; ++f) _mm_prefetch(next + f * 64, _MM_HINT_T0);
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      int four;
      __builtin_memcpy(&four, x + static_cast<std::size_t>(r) * x_stride, 4);
      const __m512i inputs = _mm512_set1_epi32(four);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_dpbusd_epi32(sum[r][v], inputs, w[v]);
    }
    weights += kQuadBytes;
    x += 4;
    next += kFetch * 64;
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) _mm512_store_si512(s.sums + r * 64 + v * 16, sum[r][v]);
  }
}

template <int kFetch>
void multiply_rows(int rows, const Segment& s) {
  switch (rows) {
    case 1:
      return multiply<1, kFetch>(s);
    case 2:
      return multiply<2, kFetch>(s);
    case 3:
      return multiply<3, kFetch>(s);
    case 4:
      return multiply<4, kFetch>(s);
    case 5:
      return multiply<5, kFetch>(s);
    default:
      return multiply<6, kFetch>(s);
  }
}

void multiply_rows(int rows, int fetch, const Segment& s) {
  switch (fetch) {
    case 0:
      return multiply_rows<0>(rows, s);
    case 1:
      return multiply_rows<1>(rows, s);
    case 2:
      return multiply_rows<2>(rows, s);
    default:
      return multiply_rows<4>(rows, s);
  }
}

/// Scales the sums of one tile's columns.
void finish(const Int8Args& a, std::size_t tile, std::size_t first_row, int rows, const std::int32_t* sums) {
  const std::size_t column = tile * 64;
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    const std::size_t n = column + static_cast<std::size_t>(v) * 16;
    if (n >= a.out) return;
    const std::size_t left = a.out - n;
    const auto mask = static_cast<__mmask16>(left >= 16 ? 0xFFFFU : (1U << left) - 1U);
    const __m512 row_scales = _mm512_loadu_ps(a.row_scales + n);
    const __m512i offset = _mm512_slli_epi32(_mm512_loadu_si512(a.row_sums + n), 7);
    for (int r = 0; r < rows; ++r) {
      const std::size_t row = first_row + static_cast<std::size_t>(r);
      const __m512i sum = _mm512_sub_epi32(_mm512_load_si512(sums + r * 64 + v * 16), offset);
      const __m512 scale = _mm512_mul_ps(row_scales, _mm512_set1_ps(a.x_scales[row]));
      _mm512_mask_storeu_ps(a.y + row * a.y_stride + n, mask, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale));
    }
  }
}

}  // namespace

void int8_matmul_avx512vnni(const Int8Args& args) {
  alignas(64) std::int32_t sums[kChunkRows * 64];
  const bool few = args.rows <= kChunkRows;
  const int quads = static_cast<int>(args.input_tiles) * 16;
  const int segment_quads = few ? kSegmentQuads : quads;
  const int chunk_rows = few ? kChunkRows : kPassRows;
  for (std::size_t tile = args.first_tile; tile < args.last_tile; ++tile) {
    const std::int8_t* weights = args.weights + tile * args.input_tiles * 4096;
    for (std::size_t first_row = 0; first_row < args.rows;
         first_row += static_cast<std::size_t>(chunk_rows)) {
      const std::size_t left = args.rows - first_row;
      const int rows = left < static_cast<std::size_t>(chunk_rows) ? static_cast<int>(left) : chunk_rows;
      const int passes = (rows + kPassRows - 1) / kPassRows;
      for (int quad = 0; quad < quads; quad += segment_quads) {
        Segment segment{};
        segment.weights = weights + static_cast<std::size_t>(quad) * kQuadBytes;
        segment.x_stride = args.x_stride;
        segment.quads = quads - quad < segment_quads ? quads - quad : segment_quads;
        segment.first = quad == 0;
        segment.next = reinterpret_cast<const char*>(segment.weights) + segment.quads * kQuadBytes;
        for (int pass = 0; pass < passes; ++pass) {
          const int row = pass * kPassRows;
          const int fetch = few ? fetched_lines(pass, passes) : 0;
          segment.x = args.x + (first_row + static_cast<std::size_t>(row)) * args.x_stride +
                      static_cast<std::size_t>(quad) * 4;
          segment.sums = sums + row * 64;
          multiply_rows(rows - row < kPassRows ? rows - row : kPassRows, fetch, segment);
          segment.next += fetch * segment.quads * 64;
        }
      }
      finish(args, tile, first_row, rows, sums);
    }
  }
}

}  // namespace reelfolio::engine::kernels
