#include "engine/embedding_table.h"

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <cstring>

#include "engine/error.h"
#include "engine/kernels/row_kernels.h"
#include "engine/ops/gather.h"
#include "engine/packed_model.h"

namespace reelfolio::engine {

namespace {

/// Rows that stay mapped until they are dropped. The system maps up to 64 KiB around each.
constexpr std::size_t kMappedRows = 64;

}  // namespace

std::string int8_table_name(const std::string& name) {
  return name + "#int8";
}

std::size_t int8_table_row_bytes(std::size_t cols, std::size_t group) {
  return cols + cols / group * sizeof(float);
}

std::string int8_table_problem(const TensorView& tensor, std::size_t rows, std::size_t cols,
                               std::size_t group) {
  const std::vector<std::size_t> shape{rows, int8_table_row_bytes(cols, group)};
  if (tensor.dtype == DType::u8 && tensor.shape == shape) return {};
  return tensor.file + ": tensor '" + tensor.name + "' is " + std::string(dtype_name(tensor.dtype)) + " " +
         shape_text(tensor.shape) + ", expected U8 " + shape_text(shape);
}

void pack_int8_table_row(ConstVector row, std::size_t group, std::span<std::byte> out) {
  assert(out.size() == int8_table_row_bytes(row.size(), group));
  for (std::size_t first = 0; first < row.size(); first += group) {
    const float scale = kernels::row_kernels().f32_to_int8(
        row.data() + first, reinterpret_cast<std::int8_t*>(out.data() + first), group);
    std::memcpy(out.data() + row.size() + first / group * sizeof scale, &scale, sizeof scale);
  }
}

EmbeddingTable::EmbeddingTable(const Checkpoint& checkpoint, const std::string& name, std::size_t rows,
                               std::size_t cols, std::size_t group)
    : checkpoint_(checkpoint), tensor_(nullptr), cols_(cols), group_(group), int8_(false), row_bytes_(0) {
  assert(group > 0 && cols % group == 0);
  if (packed_weights(checkpoint)) {
    checksums_ = std::make_unique<PackedChecksums>(checkpoint);
    tensor_ = checkpoint.find(int8_table_name(name));
  }
  int8_ = tensor_ != nullptr;
  if (int8_) {
    row_bytes_ = int8_table_row_bytes(cols, group);
    const std::string problem = int8_table_problem(*tensor_, rows, cols, group);
    if (!problem.empty()) throw ModelError(problem);
  } else {
    tensor_ = &checkpoint.require(name, {rows, cols});
    row_bytes_ = cols * dtype_bytes(tensor_->dtype);
  }
  checkpoint.advise_random(*tensor_);
}

void EmbeddingTable::prepare(std::span<const std::size_t> rows) {
  mapped_rows_ += rows.size();
  if (mapped_rows_ > kMappedRows) {
    checkpoint_.release(*tensor_);
    mapped_rows_ = rows.size();
  }
  for (const std::size_t row : rows) checkpoint_.advise_needed(*tensor_, row * row_bytes_, row_bytes_);
  if (!checksums_) return;
  for (const std::size_t row : rows) checksums_->advise_needed(*tensor_, row * row_bytes_, row_bytes_);
  for (const std::size_t row : rows) checksums_->require(*tensor_, row * row_bytes_, row_bytes_);
}

void EmbeddingTable::read(std::size_t row, std::size_t first, Vector out) const {
  if (!int8_) {
    ops::convert_to_f32(tensor_->bytes, tensor_->dtype, row * cols_ + first, out);
    return;
  }
  assert(first + out.size() <= cols_);
  const std::byte* codes = tensor_->bytes.data() + row * row_bytes_;
  for (std::size_t i = 0; i < out.size();) {
    const std::size_t group = (first + i) / group_;
    const std::size_t end = std::min(out.size(), (group + 1) * group_ - first);
    float scale = 0.0F;
    std::memcpy(&scale, codes + cols_ + group * sizeof scale, sizeof scale);
    for (; i < end; ++i) out[i] = scale * static_cast<float>(static_cast<std::int8_t>(codes[first + i]));
  }
}

}  // namespace reelfolio::engine
