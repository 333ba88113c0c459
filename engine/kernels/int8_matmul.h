#pragma once

#include <cstddef>
#include <cstdint>

/// Product of int8 activations with int8 weights: where oneDNN's would not be exact (without VNNI
/// its products saturate in 16 bits), and with VNNI where it is slower (tests/bench/int8_bench.cpp).
/// Plain data only; see lowbit_matmul.h.
namespace reelfolio::engine::kernels {

/// y[m, n] = f32(sum_k (x[m, k] - 128) * w[n, k]) * (row_scale[n] * x_scale[m])
/// for the rows of tiles [first_tile, last_tile) of w (layout: engine/quant/packed_matrix.h).
/// Exact sums: every kernel, and oneDNN where it is exact, gives the same bits.
struct Int8Args {
  std::size_t input_tiles;       ///< tiles of 64 inputs in a row
  const std::int8_t* weights;    ///< [row tiles, input_tiles, 4096], |w| <= 127, 64-byte aligned
  const float* row_scales;       ///< [row tiles * 64]
  const std::int32_t* row_sums;  ///< [row tiles * 64] sums of the weights of a row
  std::size_t out;               ///< columns of y
  std::size_t first_tile, last_tile;

  std::size_t rows;
  const std::uint8_t* x;  ///< [rows, x_stride], 128 (zero) beyond the inputs
  std::size_t x_stride;   ///< at least input_tiles * 64
  const float* x_scales;  ///< [rows]
  float* y;               ///< [rows, y_stride]
  std::size_t y_stride;
};

using Int8Function = void (*)(const Int8Args&);

void int8_matmul_ref(const Int8Args& args);  ///< plain loops; the definition of correct
void int8_matmul_avx2(const Int8Args& args);
void int8_matmul_avx512vnni(const Int8Args& args);

}  // namespace reelfolio::engine::kernels
