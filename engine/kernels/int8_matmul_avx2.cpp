#include <immintrin.h>

#include "engine/kernels/int8_matmul.h"
#include "engine/kernels/int8_passes.inc"

// Compiled for AVX2; called only where the processor has it. The products are formed as
// |x| times (w with x's sign), both at most 127, so that a pair stays within 16 bits.
//
// A tile's quad of inputs is 256 bytes: eight registers of 8 weight rows. One row of activations against all
// of them takes 8 sums, two rows against half of them as well.
//
// Few rows: weights come from memory. Inputs are taken in segments, so that a segment of a tile's weights
// stays in the first-level cache while all rows pass over it; the sums wait in memory in between. While one
// segment is multiplied the next is fetched: all passes together touch each of its lines once. A single row
// reads straight on, which the hardware foresees by itself, and 5 % faster than with help.
//
// Many rows: half a tile's weights lie in the second-level cache and sums stay in registers from the first
// input to the last.
namespace reelfolio::engine::kernels {
namespace {

constexpr int kTileVectors = 8;    // of 8 weight rows
constexpr int kSegmentQuads = 32;  // 8 KiB of weights

/// R rows of x against V registers of each quad; fetches kFetch lines for each quad.
template <int R, int V, int kFetch>
__attribute__((noinline)) void multiply(const Segment& s) {
  const __m256i sign = _mm256_set1_epi8(static_cast<char>(0x80));
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sum[R][V];
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) {
      sum[r][v] = s.first ? _mm256_setzero_si256()
                          : _mm256_load_si256(reinterpret_cast<const __m256i*>(s.sums + r * 64 + v * 8));
    }
  }
  const std::int8_t* weights = s.weights;
  const std::uint8_t* x = s.x;
  const char* next = s.next;
  for (int q = s.quads; q > 0; --q) {
    for (int f = 0; f < kFetch; ++f) _mm_prefetch(next + f * 64, _MM_HINT_T0);
    __m256i inputs[R];
    __m256i magnitudes[R];
    for (int r = 0; r < R; ++r) {
      int four;
      __builtin_memcpy(&four, x + static_cast<std::size_t>(r) * s.x_stride, 4);
      inputs[r] = _mm256_xor_si256(sign, _mm256_set1_epi32(four));
      magnitudes[r] = _mm256_abs_epi8(inputs[r]);
    }
    for (int v = 0; v < V; ++v) {
      const __m256i w = _mm256_load_si256(reinterpret_cast<const __m256i*>(weights + v * 32));
      for (int r = 0; r < R; ++r) {
        const __m256i pairs = _mm256_maddubs_epi16(magnitudes[r], _mm256_sign_epi8(w, inputs[r]));
        sum[r][v] = _mm256_add_epi32(sum[r][v], _mm256_madd_epi16(pairs, ones));
      }
    }
    weights += kQuadBytes;
    x += 4;
    next += kFetch * 64;
  }
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(s.sums + r * 64 + v * 8), sum[r][v]);
    }
  }
}

template <int R, int V>
void multiply(int fetch, const Segment& s) {
  switch (fetch) {
    case 0:
      return multiply<R, V, 0>(s);
    case 1:
      return multiply<R, V, 1>(s);
    default:
      return multiply<R, V, 2>(s);
  }
}

/// Scales the sums of `vectors` times 8 columns of y from `column` on.
void finish(const Int8Args& a, std::size_t column, int vectors, std::size_t first_row, int rows,
            const std::int32_t* sums) {
  for (int r = 0; r < rows; ++r) {
    const std::size_t row = first_row + static_cast<std::size_t>(r);
    const __m256 x_scale = _mm256_set1_ps(a.x_scales[row]);
    float* y = a.y + row * a.y_stride;
    for (int v = 0; v < vectors; ++v) {
      const std::size_t n = column + static_cast<std::size_t>(v) * 8;
      if (n >= a.out) break;
      const __m256i sum = _mm256_load_si256(reinterpret_cast<const __m256i*>(sums + r * 64 + v * 8));
      const __m256 scaled =
          _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(_mm256_loadu_ps(a.row_scales + n), x_scale));
      if (a.out - n >= 8) {
        _mm256_storeu_ps(y + n, scaled);
      } else {
        float values[8];
        _mm256_storeu_ps(values, scaled);
        for (std::size_t i = 0; i < a.out - n; ++i) y[n + i] = values[i];
      }
    }
  }
}

/// At most kChunkRows rows against one tile.
void few_rows(const Int8Args& a, std::size_t tile, int rows) {
  alignas(64) std::int32_t sums[kChunkRows * 64];
  const std::int8_t* weights = a.weights + tile * a.input_tiles * 4096;
  const int quads = static_cast<int>(a.input_tiles) * 16;
  for (int quad = 0; quad < quads; quad += kSegmentQuads) {
    Segment segment{};
    segment.x_stride = a.x_stride;
    segment.quads = quads - quad < kSegmentQuads ? quads - quad : kSegmentQuads;
    segment.first = quad == 0;
    const std::int8_t* first_weights = weights + static_cast<std::size_t>(quad) * kQuadBytes;
    segment.next = reinterpret_cast<const char*>(first_weights) + segment.quads * kQuadBytes;
    // Two passes over halves of the tile for two rows, one over all of it for the last of an odd number.
    for (int pass = 0; pass < rows; ++pass) {
      const int fetch = rows == 1 ? 0 : fetched_lines(pass, rows);
      const int row = pass / 2 * 2;
      segment.x = a.x + static_cast<std::size_t>(row) * a.x_stride + static_cast<std::size_t>(quad) * 4;
      if (row + 1 < rows) {
        const int half = pass % 2;
        segment.weights = first_weights + half * (kQuadBytes / 2);
        segment.sums = sums + row * 64 + half * 32;
        multiply<2, kTileVectors / 2>(fetch, segment);
      } else {
        segment.weights = first_weights;
        segment.sums = sums + row * 64;
        multiply<1, kTileVectors>(fetch, segment);
      }
      segment.next += fetch * segment.quads * 64;
    }
  }
  finish(a, tile * 64, kTileVectors, 0, rows, sums);
}

/// All rows against half a tile.
void many_rows(const Int8Args& a, std::size_t tile, std::size_t half) {
  constexpr int kVectors = kTileVectors / 2;
  alignas(64) std::int32_t sums[2 * 64];
  Segment segment{};
  segment.weights = a.weights + tile * a.input_tiles * 4096 + half * (kQuadBytes / 2);
  segment.x_stride = a.x_stride;
  segment.quads = static_cast<int>(a.input_tiles) * 16;
  segment.first = true;
  segment.sums = sums;
  for (std::size_t row = 0; row < a.rows; row += 2) {
    segment.x = a.x + row * a.x_stride;
    const bool two = row + 1 < a.rows;
    two ? multiply<2, kVectors, 0>(segment) : multiply<1, kVectors, 0>(segment);
    finish(a, tile * 64 + half * 32, kVectors, row, two ? 2 : 1, sums);
  }
}

}  // namespace

void int8_matmul_avx2(const Int8Args& args) {
  for (std::size_t tile = args.first_tile; tile < args.last_tile; ++tile) {
    if (args.rows <= kChunkRows) {
      few_rows(args, tile, static_cast<int>(args.rows));
    } else {
      for (std::size_t half = 0; half < 2; ++half) many_rows(args, tile, half);
    }
  }
}

}  // namespace reelfolio::engine::kernels
