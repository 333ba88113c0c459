#include <immintrin.h>

#include "engine/kernels/int8_matmul.h"

// Compiled for AVX2; called only where the processor has it. The products are formed as
// |x| times (w with x's sign), both at most 127, so that a pair stays within 16 bits.
//
// A tile's quad of inputs is 256 bytes: eight registers of 8 weight rows. One row of activations against all
// of them takes 8 sums, two rows against half of them as well.
//
// Few rows: weights come from memory. Inputs are taken in segments, so that a segment of a tile's weights
// stays in the first-level cache while all rows pass over it; the sums wait in memory in between. While one
// segment is multiplied the next is fetched: all passes together touch each of its lines once.
//
// Many rows: half a tile's weights lie in the second-level cache and sums stay in registers from the first
// input to the last.
namespace reelfolio::engine::kernels {
namespace {

constexpr int kTileVectors = 8;    // of 8 weight rows
constexpr int kSegmentQuads = 32;  // 8 KiB of weights
constexpr int kQuadBytes = 256;
/// Most rows that are few.
constexpr int kChunkRows = 24;

/// Where a pass begins.
struct Pass {
  const std::int8_t* weights;
  const std::uint8_t* x;
  std::size_t x_stride;
  std::size_t quads;
  bool first;          ///< sums begin at 0
  std::int32_t* sums;  ///< [rows][64]
  const char* next;    ///< weights to fetch
};

/// R rows of x against V registers of each quad; fetches kFetch lines for each quad.
template <int R, int V, int kFetch>
__attribute__((noinline)) void multiply(const Pass& p) {
  const __m256i sign = _mm256_set1_epi8(static_cast<char>(0x80));
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i sum[R][V];
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) {
      sum[r][v] = p.first ? _mm256_setzero_si256()
                          : _mm256_load_si256(reinterpret_cast<const __m256i*>(p.sums + r * 64 + v * 8));
    }
  }
  const std::int8_t* weights = p.weights;
  const std::uint8_t* x = p.x;
  const char* next = p.next;
  for (std::size_t q = p.quads; q > 0; --q) {
    for (int f = 0; f < kFetch; ++f) _mm_prefetch(next + f * 64, _MM_HINT_T0);
    __m256i inputs[R];
    __m256i magnitudes[R];
    for (int r = 0; r < R; ++r) {
      int four;
      __builtin_memcpy(&four, x + static_cast<std::size_t>(r) * p.x_stride, 4);
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
      _mm256_store_si256(reinterpret_cast<__m256i*>(p.sums + r * 64 + v * 8), sum[r][v]);
    }
  }
}

template <int R, int V>
void multiply(int fetch, const Pass& pass) {
  switch (fetch) {
    case 0:
      return multiply<R, V, 0>(pass);
    case 1:
      return multiply<R, V, 1>(pass);
    case 2:
      return multiply<R, V, 2>(pass);
    default:
      return multiply<R, V, 4>(pass);
  }
}

/// Lines that pass `pass` of `passes` fetches for each of its quads: four in all.
int fetched_lines(int pass, int passes) {
  if (passes == 1) return 4;
  if (passes == 2) return 2;
  if (passes == 3) return pass == 0 ? 2 : 1;
  return pass < 4 ? 1 : 0;
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
  const std::size_t quads = a.input_tiles * 16;
  const int passes = rows / 2 * 2 + rows % 2;
  for (std::size_t quad = 0; quad < quads; quad += kSegmentQuads) {
    Pass pass{};
    pass.x_stride = a.x_stride;
    pass.quads = quads - quad < kSegmentQuads ? quads - quad : kSegmentQuads;
    pass.first = quad == 0;
    const std::int8_t* segment = weights + quad * kQuadBytes;
    pass.next = reinterpret_cast<const char*>(segment) + pass.quads * kQuadBytes;
    for (int i = 0; i < passes; ++i) {
      const int fetch = fetched_lines(i, passes);
      const int row = i / 2 * 2;
      pass.x = a.x + static_cast<std::size_t>(row) * a.x_stride + quad * 4;
      if (row + 1 < rows) {
        const int half = i % 2;
        pass.weights = segment + half * (kQuadBytes / 2);
        pass.sums = sums + row * 64 + half * 32;
        multiply<2, kTileVectors / 2>(fetch, pass);
      } else {
        pass.weights = segment;
        pass.sums = sums + row * 64;
        multiply<1, kTileVectors>(fetch, pass);
      }
      pass.next += static_cast<std::size_t>(fetch) * pass.quads * 64;
    }
  }
  finish(a, tile * 64, kTileVectors, 0, rows, sums);
}

/// All rows against half a tile.
void many_rows(const Int8Args& a, std::size_t tile, std::size_t half) {
  constexpr int kVectors = kTileVectors / 2;
  alignas(64) std::int32_t sums[2 * 64];
  Pass pass{};
  pass.weights = a.weights + tile * a.input_tiles * 4096 + half * (kQuadBytes / 2);
  pass.x_stride = a.x_stride;
  pass.quads = a.input_tiles * 16;
  pass.first = true;
  pass.sums = sums;
  for (std::size_t row = 0; row < a.rows; row += 2) {
    pass.x = a.x + row * a.x_stride;
    const bool two = row + 1 < a.rows;
    two ? multiply<2, kVectors, 0>(pass) : multiply<1, kVectors, 0>(pass);
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
