#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

/// Loops over one row that are worth compiling for the processor at hand: the library
/// as a whole is built for any x86-64. One function table per instruction set; all are
/// compiled from row_kernels.inc with the same order of operations, sums in 16 parts however
/// wide registers are, so tables differ only where one fuses a multiplication with an addition.
///
/// Pointers need no alignment. `n` may be any size. Unless said otherwise y may be x.
namespace reelfolio::engine::kernels {

/// Rows and keys of one attention tile at most; keys is also the grid on which a KV
/// cache is cut into pages.
inline constexpr std::size_t kTileKeys = 64;

struct RowKernels {
  const char* name;

  float (*sum_of_squares)(const float* x, std::size_t n);
  /// y = x * factor * weight; weight may be null.
  void (*scale_by)(const float* x, float factor, const float* weight, float* y, std::size_t n);
  /// y += x
  void (*add)(const float* x, float* y, std::size_t n);
  /// y = min(max(x, low), high); NaN stays NaN.
  void (*clamp)(const float* x, float low, float high, float* y, std::size_t n);
  void (*exp)(const float* x, float* y, std::size_t n);
  void (*tanh)(const float* x, float* y, std::size_t n);
  /// y = cap * tanh(x / cap)
  void (*soft_cap)(const float* x, float cap, float* y, std::size_t n);
  void (*sigmoid)(const float* x, float* y, std::size_t n);
  void (*silu)(const float* x, float* y, std::size_t n);
  /// y = gelu_tanh(x) * factor; factor may be null.
  void (*gelu)(const float* x, const float* factor, float* y, std::size_t n);
  float (*max)(const float* x, std::size_t n);
  /// y = exp(x - shift); returns the sum of y.
  float (*exp_sum)(const float* x, float shift, float* y, std::size_t n);
  void (*bf16_to_f32)(const std::uint16_t* x, float* y, std::size_t n);
  void (*f32_to_bf16)(const float* x, std::uint16_t* y, std::size_t n);
  /// Numbers that are kept, as int8 with one scale: x ~ scale * y with scale = max|x| / 127 and
  /// y = x / scale, rounded to nearest, ties to even. Returns the scale; all zeros: 0. Where x has NaN or
  /// infinity y is 0 and the scale NaN, so that whatever reads them shows it. The same bits in every table.
  /// Activations are rounded by round_row.h, which multiplies by the reciprocal.
  float (*f32_to_int8)(const float* x, std::int8_t* y, std::size_t n);
  /// y = x * scales[row], both [rows, size].
  void (*int8_to_f32)(const std::int8_t* x, const float* scales, std::size_t rows, std::size_t size,
                      float* y);

  /// scores[r * kTileKeys + t] = q_r . k_t for rows r < rows and keys t < keys; q_r starts at
  /// q + r * q_stride, k_t at k + t * size. A product depends on q_r and k_t alone.
  void (*dot_tile)(const float* q, std::size_t q_stride, std::size_t rows, const float* k, std::size_t keys,
                   std::size_t size, float* scores);
  /// out_r = out_r * keep[r] + sum over t < keys, in order, of p[r * kTileKeys + t] v_t.
  void (*weighted_tile)(const float* p, const float* keep, std::size_t rows, const float* v, std::size_t keys,
                        std::size_t size, float* out, std::size_t out_stride);
};

/// False where the environment's REELFOLIO_KERNEL_LIMIT ("avx2" or "ref") names less than
/// `name`: kernels of that instruction set then count as missing from the processor, so that
/// tests see what older machines do. oneDNN has its own ONEDNN_MAX_CPU_ISA.
bool within_kernel_limit(std::string_view name);

/// The table in use: the best that the processor runs, unless `force` chose another.
const RowKernels& row_kernels();

/// Makes the table of that name ("avx512", "avx2", "ref") the one in use, "auto" the
/// best one. False where the processor or the build lacks it. Not while others compute.
bool force_row_kernels(std::string_view name);

}  // namespace reelfolio::engine::kernels
