#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "engine/aligned_memory.h"

/// Weights of a linear layer as the kernels read them, in memory or in a file.
namespace reelfolio::engine::quant {

/// int8: one scale a row. int4, int2: see lowbit.h. bf16: the numbers themselves, rounded and not
/// rotated.
enum class Format : std::uint8_t { int8, int4, int2, bf16 };
constexpr bool has_integers(Format format) {
  return format != Format::bf16;
}
std::string_view format_name(Format format);

/// int8 layout: tiles of 64 rows by 64 inputs, each 4096 bytes in which 4 consecutive inputs
/// of a row lie together: byte (k / 4) * 256 + n * 4 + k % 4 of the tile. Tiles of the same
/// rows follow each other. oneDNN calls it BA16a64b4a and reads it in place.
constexpr std::size_t kTileRows = 64;
constexpr std::size_t kTileInputs = 64;
constexpr std::size_t kTileBytes = kTileRows * kTileInputs;

/// bf16 layout: blocks of kTileRows rows, in which the pairs of consecutive inputs of all rows follow
/// each other: element (k / 2) * 128 + n * 2 + k % 2 of the block. Inputs are filled up with zeros to a
/// multiple of kBf16Inputs, which makes it the layout that oneDNN calls BA16a64b2a.
constexpr std::size_t kBf16Inputs = 32;

struct PackedShape {
  Format format = Format::int8;
  std::size_t out = 0;
  std::size_t in = 0;

  std::size_t padded_rows() const { return (out + kTileRows - 1) / kTileRows * kTileRows; }
  /// Inputs rounded up to groups of lowbit.h; bf16: to kBf16Inputs.
  std::size_t padded_inputs() const;
  std::size_t row_tiles() const { return padded_rows() / kTileRows; }
  std::size_t input_tiles() const { return padded_inputs() / kTileInputs; }
  std::size_t code_bytes() const;
  std::size_t multiplier_bytes() const;  ///< 0 for int8 and bf16
  /// Of all arrays together as PackedBuffer lays them out; divisible by 64.
  std::size_t total_bytes() const;
  friend bool operator==(const PackedShape&, const PackedShape&) = default;
};

/// Borrowed view. Arrays cover padded_rows(); padding rows are zero weights.
struct PackedMatrix {
  PackedShape shape;
  const std::uint8_t* codes = nullptr;        ///< 64-byte aligned; int8: signed bytes
  const std::uint8_t* multipliers = nullptr;  ///< null for int8 and bf16
  const float* row_scales = nullptr;          ///< null for bf16
  const std::int32_t* row_sums = nullptr;     ///< sum of a row's integers, padding included; null for bf16
};

/// The arrays where PackedBuffer puts them: codes, multipliers, row scales, row sums (bf16: codes alone),
/// each starting at a multiple of 64. `data` is 64-byte aligned and holds shape.total_bytes().
PackedMatrix packed_view(const PackedShape& shape, const std::byte* data);

/// Owns the arrays of one matrix.
class PackedBuffer {
 public:
  PackedBuffer() = default;
  explicit PackedBuffer(const PackedShape& shape);

  PackedMatrix view() const { return packed_view(shape_, data_.get()); }
  std::span<const std::byte> bytes() const { return {data_.get(), shape_.total_bytes()}; }

  std::span<std::uint8_t> codes();
  std::span<std::uint8_t> multipliers();
  std::span<float> row_scales();
  std::span<std::int32_t> row_sums();

 private:
  PackedShape shape_;
  AlignedBytes data_;
};

/// Gives row `index` of the matrix, unrotated, as f32 [in]. Called from several threads.
using RowSource = std::function<void(std::size_t index, std::span<float> row)>;

/// Rotates (rotation.h; not bf16) and packs a whole matrix on the engine's OpenMP threads. The bytes
/// depend on the weights and the shape alone.
PackedBuffer pack_matrix(const PackedShape& shape, const RowSource& source);

/// Row `index` as it was before packing, to the format's precision: unpacked and rotated back.
void unpack_row(const PackedMatrix& matrix, std::size_t index, std::span<float> row);

/// Element of weight (n, k) in the bf16 layout with `padded_inputs` inputs.
constexpr std::size_t bf16_element(std::size_t n, std::size_t k, std::size_t padded_inputs) {
  return n / kTileRows * kTileRows * padded_inputs + k / 2 * 2 * kTileRows + n % kTileRows * 2 + k % 2;
}

/// Byte offset of weight (n, k) in the int8 layout with `input_tiles` tiles a row of tiles.
constexpr std::size_t int8_offset(std::size_t n, std::size_t k, std::size_t input_tiles) {
  return (n / kTileRows * input_tiles + k / kTileInputs) * kTileBytes + k % kTileInputs / 4 * 256 +
         n % kTileRows * 4 + k % 4;
}

}  // namespace reelfolio::engine::quant
