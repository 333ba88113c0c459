#include <immintrin.h>

#include <cstdint>

#include "engine/kernels/attention.h"

namespace reelfolio::engine::kernels {

namespace {

// vdpbf16ps multiplies pairs of neighbouring bf16 and adds both products to an f32 lane.
// Packed blocks therefore hold pairs in 32 bits: keys [kPairs, kKeyBlock] with pairs of head
// elements, values [kPairs, kAttentionHeadDim] with pairs of keys.
//
// No function of another header may be called here: the linker could keep this copy,
// compiled for instructions that the processor lacks.

constexpr int kKeys = static_cast<int>(kKeyBlock);
constexpr int kDim = static_cast<int>(kAttentionHeadDim);
constexpr int kPairs = 32;
constexpr int kRows = 6;     // x 4 vectors = 24 sums; with 4 of b and 1 of a, 29 of 32 registers
constexpr int kVectors = 4;  // of 16 lanes: one block of keys, one head
static_assert(kKeys == 2 * kPairs && kDim == 2 * kPairs && kDim == kVectors * 16);
static_assert(kQueryBlock % kRows == 0);

using Pair = std::uint32_t;

/// Two f32 to a pair of bf16, to nearest even; `low` comes first in memory.
Pair to_pair(float low, float high) {
  const __m128bh rounded = _mm_cvtneps_pbh(_mm_set_ps(0.0F, 0.0F, high, low));
  return static_cast<Pair>(_mm_cvtsi128_si32((__m128i)rounded));
}

/// 32 f32 to bf16, in order.
void round_32(const float* x, Pair* y) {
  const __m512bh rounded = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + 16), _mm512_loadu_ps(x));
  _mm512_storeu_si512(y, (__m512i)rounded);
}

__m512 multiply_add(__m512 sum, __m512i a, __m512i b) {
  return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
}

/// 2^x for x <= 0, 0 below -150. Interpolation of 2^f at the Chebyshev nodes of [0, 1]:
/// relative error 3.5e-6, a thousandth of the rounding to bf16 that follows.
__m512 exp2_lanes(__m512 x) {
  const __m512 f = _mm512_reduce_ps(x, 0x01);  // x - floor(x)
  __m512 y = _mm512_set1_ps(1.3670309E-2F);
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(5.1744998E-2F));
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(2.4160436E-1F));
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(6.9297292E-1F));
  y = _mm512_fmadd_ps(y, f, _mm512_set1_ps(1.0000035F));
  return _mm512_scalef_ps(y, x);  // takes the floor of x itself
}

constexpr float kLog2E = 1.44269504F;

/// Running state of the query rows of one call.
struct State {
  /// Scaled by log2(e), and with them scores and maxima: weights are then powers of 2.
  alignas(64) Pair queries[kQueryBlock][kPairs];
  alignas(64) float sums[kQueryBlock][kDim];
  alignas(64) float totals[kQueryBlock][16];
  float maxima[kQueryBlock];
};

/// One block of keys for kRows queries. Keys past `count` get the weight 0.
void attend_block(State& state, int row, const Pair* keys, const Pair* values, int count) {
  __m512 c[kRows][kVectors];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) c[r][v] = _mm512_setzero_ps();
  }
  for (int k = 0; k < kPairs; ++k) {
    __m512i b[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) b[v] = _mm512_load_si512(keys + k * kKeys + v * 16);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m512i a = _mm512_set1_epi32(static_cast<int>(state.queries[row + r][k]));
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) c[r][v] = multiply_add(c[r][v], a, b[v]);
    }
  }

  alignas(64) Pair weights[kRows][kPairs];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    if (count < kKeys) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const int left = count - v * 16;
        const __mmask16 mask = static_cast<__mmask16>(left >= 16 ? 0xFFFF : left <= 0 ? 0 : (1 << left) - 1);
        c[r][v] = _mm512_mask_mov_ps(_mm512_set1_ps(-__builtin_inff()), mask, c[r][v]);
      }
    }
    const __m512 highest = _mm512_max_ps(_mm512_max_ps(c[r][0], c[r][1]), _mm512_max_ps(c[r][2], c[r][3]));
    float& maximum = state.maxima[row + r];
    float* totals = state.totals[row + r];
    __m512 total = _mm512_load_ps(totals);
    if (_mm512_cmp_ps_mask(highest, _mm512_set1_ps(maximum), _CMP_GT_OQ) != 0) {
      const float top = _mm512_reduce_max_ps(highest);
      const __m512 factor = exp2_lanes(_mm512_set1_ps(maximum - top));
      maximum = top;
      total = _mm512_mul_ps(total, factor);
      float* sums = state.sums[row + r];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        _mm512_store_ps(sums + v * 16, _mm512_mul_ps(_mm512_load_ps(sums + v * 16), factor));
      }
    }
    const __m512 shift = _mm512_set1_ps(maximum);
    __m512 p[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      p[v] = exp2_lanes(_mm512_sub_ps(c[r][v], shift));
    }
    total = _mm512_add_ps(total, _mm512_add_ps(_mm512_add_ps(p[0], p[1]), _mm512_add_ps(p[2], p[3])));
    _mm512_store_ps(totals, total);
    _mm512_store_si512(weights[r], (__m512i)_mm512_cvtne2ps_pbh(p[1], p[0]));
    _mm512_store_si512(weights[r] + 16, (__m512i)_mm512_cvtne2ps_pbh(p[3], p[2]));
  }

#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) c[r][v] = _mm512_load_ps(state.sums[row + r] + v * 16);
  }
  for (int k = 0; k < kPairs; ++k) {
    __m512i b[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) b[v] = _mm512_load_si512(values + k * kDim + v * 16);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m512i a = _mm512_set1_epi32(static_cast<int>(weights[r][k]));
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) c[r][v] = multiply_add(c[r][v], a, b[v]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) _mm512_store_ps(state.sums[row + r] + v * 16, c[r][v]);
  }
}

/// Row r of a head, padded with zeros to kDim elements; zeros where there is no row r.
void padded_row(HeadRows rows, std::size_t count, std::size_t head_dim, std::size_t r, float* out) {
  __builtin_memset(out, 0, kDim * sizeof(float));
  if (r < count) __builtin_memcpy(out, rows.data + r * rows.stride, head_dim * sizeof(float));
}

void pack_keys(HeadRows keys, std::size_t count, std::size_t head_dim, std::byte* packed) {
  Pair* target = reinterpret_cast<Pair*>(packed);
  alignas(64) float row[kDim];
  alignas(64) Pair pairs[kPairs];
  for (int t = 0; t < kKeys; ++t) {
    padded_row(keys, count, head_dim, static_cast<std::size_t>(t), row);
    round_32(row, pairs);
    round_32(row + 32, pairs + 16);
    for (int k = 0; k < kPairs; ++k) target[k * kKeys + t] = pairs[k];
  }
}

void pack_values(HeadRows values, std::size_t count, std::size_t head_dim, std::byte* packed) {
  Pair* target = reinterpret_cast<Pair*>(packed);
  alignas(64) float even[kDim];
  alignas(64) float odd[kDim];
  for (int k = 0; k < kPairs; ++k) {
    padded_row(values, count, head_dim, static_cast<std::size_t>(2 * k), even);
    padded_row(values, count, head_dim, static_cast<std::size_t>(2 * k + 1), odd);
    for (int d = 0; d < kDim; ++d) target[k * kDim + d] = to_pair(even[d], odd[d]);
  }
}

void attend(HeadRows queries, std::size_t rows, std::size_t head_dim, const std::byte* keys,
            const std::byte* values, std::size_t num_keys, float* out, std::size_t out_stride) {
  State state;
  const int tiles = static_cast<int>((rows + kRows - 1) / kRows);
  __builtin_memset(state.sums, 0, sizeof state.sums);
  __builtin_memset(state.totals, 0, sizeof state.totals);
  // Finite: -infinity minus -infinity would be no number.
  for (float& maximum : state.maxima) maximum = -1e30F;
  for (int r = 0; r < tiles * kRows; ++r) {
    alignas(64) float row[kDim];
    padded_row(queries, rows, head_dim, static_cast<std::size_t>(r), row);
    for (float& element : row) element *= kLog2E;
    round_32(row, state.queries[r]);
    round_32(row + 32, state.queries[r] + 16);
  }

  const Pair* key_block = reinterpret_cast<const Pair*>(keys);
  const Pair* value_block = reinterpret_cast<const Pair*>(values);
  for (std::size_t first = 0; first < num_keys; first += kKeyBlock) {
    const int count = num_keys - first < kKeyBlock ? static_cast<int>(num_keys - first) : kKeys;
    for (int tile = 0; tile < tiles; ++tile) attend_block(state, tile * kRows, key_block, value_block, count);
    key_block += kPairs * kKeys;
    value_block += kPairs * kDim;
  }

  for (std::size_t r = 0; r < rows; ++r) {
    const float total = _mm512_reduce_add_ps(_mm512_load_ps(state.totals[r]));
    for (std::size_t d = 0; d < head_dim; ++d) out[r * out_stride + d] = state.sums[r][d] / total;
  }
}

}  // namespace

extern const AttentionKernel attention_avx512_bf16;
const AttentionKernel attention_avx512_bf16{
    "avx512_bf16", ops::WeightType::bf16, kPairs* kKeyBlock * sizeof(Pair), pack_keys, pack_values, attend};

}  // namespace reelfolio::engine::kernels
