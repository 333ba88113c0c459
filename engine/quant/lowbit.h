#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

/// 4- and 2-bit weights of a linear layer [out, in].
///
/// A weight is   w[n, k] ~ row_scale[n] * level(multiplier[n, k / kGroup], code[n, k])
/// where code is 4 or 2 bits and level() an 8-bit integer from a table: the codebook of the
/// width (the Lloyd-Max quantiser of a normal distribution, largest level 1) times
/// multiplier/255 times 127, rounded. Levels are integers so that products with int8
/// activations are exact integer sums, and so that a matrix can be expanded to plain int8
/// (for oneDNN, at prefill) and still give the same bits as the decode kernel.
///
/// Byte layout, chosen for the kernels: rows in blocks of kRowsPerBlock, inputs in chunks
/// of 16 * (8 / bits) = 32 or 64. A chunk of a block is 64 bytes: 16 for each row, in which
/// bit field j of byte i holds the code of input 16 * j + i. Rows are padded to whole
/// blocks and inputs to whole groups with code 0; activations are zero there.
namespace reelfolio::engine::quant {

constexpr std::size_t kRowsPerBlock = 4;
constexpr std::size_t kGroup = 128;
constexpr std::size_t kChunkBytes = 64;

enum class LowBits { two = 2, four = 4 };

/// Level tables: for each multiplier 16 bytes, the level of each code. For 2-bit codes
/// the four levels repeat, so that a byte shuffle by the low bits of an index works for both.
struct LevelTables {
  alignas(64) std::array<std::array<std::int8_t, 16>, 256> level{};
};
const LevelTables& level_tables(LowBits bits);

/// Sizes of the four arrays that make up a packed matrix.
struct LowBitShape {
  LowBits bits = LowBits::four;
  std::size_t out = 0;
  std::size_t in = 0;

  std::size_t row_blocks() const { return (out + kRowsPerBlock - 1) / kRowsPerBlock; }
  std::size_t groups() const { return (in + kGroup - 1) / kGroup; }
  std::size_t chunk_inputs() const { return 16 * (8 / static_cast<std::size_t>(bits)); }
  std::size_t chunks_per_group() const { return kGroup / chunk_inputs(); }
  std::size_t code_bytes() const { return row_blocks() * groups() * chunks_per_group() * kChunkBytes; }
  std::size_t multiplier_bytes() const { return row_blocks() * groups() * kRowsPerBlock; }
  std::size_t scale_count() const { return row_blocks() * kRowsPerBlock; }
};

/// Borrowed view of a packed matrix (from memory or a mapped file).
struct LowBitMatrix {
  LowBitShape shape;
  const std::uint8_t* codes = nullptr;        ///< [row_blocks, groups, chunks_per_group, 64], 64-byte aligned
  const std::uint8_t* multipliers = nullptr;  ///< [row_blocks, groups, 4]
  const float* row_scales = nullptr;          ///< [row_blocks * 4]
  const std::int32_t* row_sums = nullptr;     ///< [row_blocks * 4] sum of a row's levels, padding included
};

/// Packs up to kRowsPerBlock rows (rotated already, see rotation.h) as block `block`.
/// Each group takes the multiplier with the least squared error. The last four point at the
/// whole arrays (LowBitMatrix). Missing rows of the last block become zero weights.
void pack_row_block(const LowBitShape& shape, std::size_t block, std::span<const float* const> rows,
                    std::uint8_t* codes, std::uint8_t* multipliers, float* row_scales,
                    std::int32_t* row_sums);

/// Expands rows [first, first + count) to signed bytes [count, in], row-major:
/// row_scale[n] * out[n, k] is the weight.
void unpack_rows(const LowBitMatrix& matrix, std::size_t first, std::size_t count, std::int8_t* out);

}  // namespace reelfolio::engine::quant
