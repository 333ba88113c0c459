#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "engine/packed_checksums.h"
#include "engine/safetensors.h"
#include "engine/tensor.h"

namespace reelfolio::engine {

/// A table of which a few rows are looked up for each token, left in the checkpoint's mapping.
///
/// Rows are those of the checkpoint's tensor (f32, bf16 or f16), or in a packed model int8: tensor
/// "NAME#int8", U8 [rows, cols + 4 * cols / group], a row's integers followed by an f32 scale for each
/// `group` of them. Rows that have been read are dropped from this process's memory again (not from
/// the system's page cache), so that a table never becomes resident however many tokens pass.
///
/// Borrows the checkpoint. `prepare` and `read` are for one thread, but several may `read` at once.
class EmbeddingTable {
 public:
  /// Throws ModelError where the tensor is missing or misshapen. group divides cols.
  EmbeddingTable(const Checkpoint& checkpoint, const std::string& name, std::size_t rows, std::size_t cols,
                 std::size_t group);

  /// Before rows are read: has them all read from the disk at once, not one after the other, and in a
  /// packed model compares them with their checksums. Throws ModelError for damage.
  void prepare(std::span<const std::size_t> rows);

  /// Columns [first, first + out.size()) of a row.
  void read(std::size_t row, std::size_t first, Vector out) const;

 private:
  const Checkpoint& checkpoint_;
  const TensorView* tensor_;
  std::size_t cols_;
  std::size_t group_;
  bool int8_;
  std::size_t row_bytes_;
  std::unique_ptr<PackedChecksums> checksums_;  ///< null for a checkpoint without
  std::size_t mapped_rows_ = 0;
};

/// The name and the shape of a table's int8 form in a packed model.
std::string int8_table_name(const std::string& name);
std::size_t int8_table_row_bytes(std::size_t cols, std::size_t group);
/// What is wrong with the type or the shape of a tensor that should be a table's int8 form, as ModelError
/// words it; empty: nothing.
std::string int8_table_problem(const TensorView& tensor, std::size_t rows, std::size_t cols,
                               std::size_t group);
/// Rounds a row to that form: scale = max|x| / 127 of a group, values to nearest, ties to even.
void pack_int8_table_row(ConstVector row, std::size_t group, std::span<std::byte> out);

}  // namespace reelfolio::engine
