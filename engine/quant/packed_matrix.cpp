#include "engine/quant/packed_matrix.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <numeric>
#include <vector>

#include "engine/kernels/row_kernels.h"
#include "engine/quant/lowbit.h"
#include "engine/quant/rotation.h"
#include "engine/tensor.h"

namespace reelfolio::engine::quant {
namespace {

std::size_t aligned(std::size_t bytes) {
  return (bytes + 63) / 64 * 64;
}

LowBits low_bits(Format format) {
  assert(format == Format::int4 || format == Format::int2);
  return format == Format::int4 ? LowBits::four : LowBits::two;
}

LowBitShape low_shape(const PackedShape& shape) {
  return {low_bits(shape.format), shape.padded_rows(), shape.in};
}

void pack_int8_row(const PackedShape& shape, std::size_t n, std::span<const float> row, std::uint8_t* codes,
                   float& scale, std::int32_t& sum) {
  std::vector<std::int8_t> integers(row.size());
  scale = kernels::row_kernels().f32_to_int8(row.data(), integers.data(), row.size());
  sum = std::accumulate(integers.begin(), integers.end(), 0);
  for (std::size_t k = 0; k < row.size(); ++k) {
    codes[int8_offset(n, k, shape.input_tiles())] = static_cast<std::uint8_t>(integers[k]);
  }
}

void pack_bf16_row(const PackedShape& shape, std::size_t n, std::span<const float> row, std::uint8_t* codes) {
  auto* elements = reinterpret_cast<std::uint16_t*>(codes);
  const std::size_t padded = shape.padded_inputs();
  for (std::size_t k = 0; k < row.size(); ++k) elements[bf16_element(n, k, padded)] = f32_to_bf16(row[k]);
}

bool is_low_bit(Format format) {
  return format == Format::int4 || format == Format::int2;
}

/// Bytes of row scales, and of row sums.
std::size_t row_array_bytes(const PackedShape& shape) {
  return has_integers(shape.format) ? aligned(shape.padded_rows() * 4) : 0;
}

}  // namespace

std::string_view format_name(Format format) {
  switch (format) {
    case Format::int8:
      return "int8";
    case Format::int4:
      return "int4";
    case Format::int2:
      return "int2";
    case Format::bf16:
      break;
  }
  return "bf16";
}

std::size_t PackedShape::padded_inputs() const {
  const std::size_t step = has_integers(format) ? kGroup : kBf16Inputs;
  return (in + step - 1) / step * step;
}

std::size_t PackedShape::code_bytes() const {
  if (is_low_bit(format)) return low_shape(*this).code_bytes();
  return padded_rows() * padded_inputs() * (format == Format::int8 ? 1 : 2);
}

std::size_t PackedShape::multiplier_bytes() const {
  return is_low_bit(format) ? low_shape(*this).multiplier_bytes() : 0;
}

std::size_t PackedShape::total_bytes() const {
  return aligned(code_bytes()) + aligned(multiplier_bytes()) + 2 * row_array_bytes(*this);
}

PackedBuffer::PackedBuffer(const PackedShape& shape)
    : shape_(shape), data_(allocate_aligned(shape.total_bytes())) {
  // Each thread clears, and so is the first to touch, about the rows that it will multiply by: on a server
  // with several memory nodes they come to lie in its own.
  const std::size_t bytes = shape.total_bytes();
  constexpr std::size_t kPiece = std::size_t{1} << 16;
#pragma omp parallel for schedule(static) if (bytes > 16 * kPiece)
  for (std::size_t first = 0; first < bytes; first += kPiece) {
    std::fill_n(data_.get() + first, std::min(kPiece, bytes - first), std::byte{0});
  }
}

std::span<std::uint8_t> PackedBuffer::codes() {
  return {reinterpret_cast<std::uint8_t*>(data_.get()), shape_.code_bytes()};
}
std::span<std::uint8_t> PackedBuffer::multipliers() {
  return {reinterpret_cast<std::uint8_t*>(data_.get() + aligned(shape_.code_bytes())),
          shape_.multiplier_bytes()};
}
std::span<float> PackedBuffer::row_scales() {
  if (!has_integers(shape_.format)) return {};
  std::byte* start = data_.get() + aligned(shape_.code_bytes()) + aligned(shape_.multiplier_bytes());
  return {reinterpret_cast<float*>(start), shape_.padded_rows()};
}
std::span<std::int32_t> PackedBuffer::row_sums() {
  if (!has_integers(shape_.format)) return {};
  std::byte* start = data_.get() + aligned(shape_.code_bytes()) + aligned(shape_.multiplier_bytes()) +
                     row_array_bytes(shape_);
  return {reinterpret_cast<std::int32_t*>(start), shape_.padded_rows()};
}

PackedMatrix packed_view(const PackedShape& shape, const std::byte* data) {
  const auto* codes = reinterpret_cast<const std::uint8_t*>(data);
  if (!has_integers(shape.format)) return {shape, codes, nullptr, nullptr, nullptr};
  const std::byte* multipliers = data + aligned(shape.code_bytes());
  const std::byte* scales = multipliers + aligned(shape.multiplier_bytes());
  const std::byte* sums = scales + row_array_bytes(shape);
  return {shape, codes,
          shape.format == Format::int8 ? nullptr : reinterpret_cast<const std::uint8_t*>(multipliers),
          reinterpret_cast<const float*>(scales), reinterpret_cast<const std::int32_t*>(sums)};
}

PackedBuffer pack_matrix(const PackedShape& shape, const RowSource& source) {
  PackedBuffer buffer(shape);
  std::uint8_t* codes = buffer.codes().data();
  std::uint8_t* multipliers = buffer.multipliers().data();
  float* scales = buffer.row_scales().data();
  std::int32_t* sums = buffer.row_sums().data();
  const auto blocks = static_cast<std::ptrdiff_t>(shape.padded_rows() / kRowsPerBlock);
#pragma omp parallel
  {
    std::vector<float> rows(kRowsPerBlock * shape.in);
#pragma omp for schedule(static)
    for (std::ptrdiff_t block = 0; block < blocks; ++block) {
      std::array<const float*, kRowsPerBlock> pointers{};
      std::size_t count = 0;
      for (std::size_t n = block * kRowsPerBlock; n < shape.out && count < kRowsPerBlock; ++n, ++count) {
        const std::span<float> row(rows.data() + count * shape.in, shape.in);
        source(n, row);
        if (shape.format == Format::bf16) {
          pack_bf16_row(shape, n, row, codes);
          continue;
        }
        rotate_row(row);
        pointers[count] = row.data();
        if (shape.format == Format::int8) pack_int8_row(shape, n, row, codes, scales[n], sums[n]);
      }
      if (is_low_bit(shape.format)) {
        pack_row_block(low_shape(shape), block, {pointers.data(), count}, codes, multipliers, scales, sums);
      }
    }
  }
  return buffer;
}

void unpack_row(const PackedMatrix& matrix, std::size_t index, std::span<float> row) {
  const PackedShape& shape = matrix.shape;
  assert(index < shape.out && row.size() == shape.in);
  if (shape.format == Format::bf16) {
    const auto* elements = reinterpret_cast<const std::uint16_t*>(matrix.codes);
    const std::size_t padded = shape.padded_inputs();
    for (std::size_t k = 0; k < shape.in; ++k) row[k] = bf16_to_f32(elements[bf16_element(index, k, padded)]);
    return;
  }
  std::vector<std::int8_t> integers(shape.in);
  if (shape.format == Format::int8) {
    for (std::size_t k = 0; k < shape.in; ++k) {
      integers[k] = static_cast<std::int8_t>(matrix.codes[int8_offset(index, k, shape.input_tiles())]);
    }
  } else {
    const LowBitMatrix low{low_shape(shape), matrix.codes, matrix.multipliers, matrix.row_scales,
                           matrix.row_sums};
    unpack_rows(low, index, 1, integers.data());
  }
  for (std::size_t k = 0; k < shape.in; ++k)
    row[k] = static_cast<float>(integers[k]) * matrix.row_scales[index];
  unrotate_row(row);
}

}  // namespace reelfolio::engine::quant
