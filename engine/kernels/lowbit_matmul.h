#pragma once

#include <cstddef>
#include <cstdint>

/// Product of int8 activations with 4- or 2-bit weights, for few rows (decode), where
/// oneDNN has nothing that reads packed weights at memory speed.
///
/// This header is included by files compiled for instruction sets that the machine may lack:
/// it holds plain data only, no inline functions that the linker could keep in their AVX form.
namespace reelfolio::engine::kernels {

/// y[m, n] = f32(sum_k (x[m, k] - 128) * level(n, k)) * (row_scale[n] * x_scale[m])
///
/// for n in the row blocks [first_block, last_block) of a packed matrix (layout:
/// engine/quant/lowbit.h) and all m in [0, rows). The sums are exact in 32 bits for up to
/// 66,000 inputs, so every kernel gives the same bits, whatever `rows` is.
struct LowBitArgs {
  int bits;                         ///< 4 or 2
  std::size_t groups;               ///< groups of 128 inputs in a row
  const std::uint8_t* codes;        ///< [blocks, groups, chunks of 64 bytes], 64-byte aligned
  const std::uint8_t* multipliers;  ///< [blocks, groups, 4]
  const float* row_scales;          ///< [blocks * 4]
  const std::int32_t* row_sums;     ///< [blocks * 4] sums of the levels of a row
  const std::int8_t (*levels)[16];  ///< [256][16] level of each multiplier and code, 16-byte aligned
  std::size_t out;                  ///< columns of y; rows of the last block beyond it are not written
  std::size_t first_block, last_block;

  std::size_t rows;       ///< any number; kernels work in tiles of 16
  const std::uint8_t* x;  ///< [rows, x_stride], 128 (zero) beyond the inputs
  std::size_t x_stride;   ///< at least groups * 128
  const float* x_scales;  ///< [rows]
  float* y;               ///< [rows, y_stride]; may not overlap the inputs
  std::size_t y_stride;
};

using LowBitFunction = void (*)(const LowBitArgs&);

void lowbit_matmul_ref(const LowBitArgs& args);  ///< plain loops; the definition of correct
void lowbit_matmul_avx2(const LowBitArgs& args);
void lowbit_matmul_avx512vnni(const LowBitArgs& args);

/// Writes the levels of blocks [first_block, last_block), both multiples of 16, in the int8
/// layout of engine/quant/packed_matrix.h (groups * 2 tiles a row of tiles), so that many rows can be
/// multiplied by them. Reads bits, groups, codes, multipliers and levels.
void lowbit_expand_avx2(const LowBitArgs& args, std::int8_t* tiles);
void lowbit_expand_avx512vnni(const LowBitArgs& args, std::int8_t* tiles);

}  // namespace reelfolio::engine::kernels
