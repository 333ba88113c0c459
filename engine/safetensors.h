#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tensor.h"

namespace reelfolio::engine {

/// One tensor of a checkpoint, row-major, little-endian, any alignment. `bytes` is
/// borrowed from the mapping and lives as long as the Checkpoint; its size is the
/// product of `shape` (1 for a scalar) times dtype_bytes(dtype).
struct TensorView {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::size_t> shape;
  std::span<const std::byte> bytes;
  std::string file;  ///< name inside the model directory, for messages

  std::size_t num_elements() const { return bytes.size() / dtype_bytes(dtype); }
};

/// The safetensors files of a model directory, mapped read-only.
///
/// Owns the mappings. Movable, not copyable; every const member may be called from any
/// thread. The files must not be truncated while mapped: reading a page that is gone
/// raises SIGBUS.
class Checkpoint {
 public:
  /// Opens `dir`/packed.safetensors (packed_model.h) where that file exists, else
  /// `dir`/model.safetensors.index.json with its shards, else `dir`/model.safetensors. Reads
  /// headers only.
  /// Throws ModelError naming file and tensor: a missing file, a header that is no valid
  /// JSON or larger than 100,000,000 bytes, an unknown dtype, sizes that overflow, differ from the
  /// shape, overlap, leave a gap or leave the file, a name that occurs twice, an index that names a
  /// file outside `dir` or disagrees with the shards.
  static Checkpoint open(const std::filesystem::path& dir);

  /// Tensors that lie in memory which `owner` keeps alive and which survives MADV_DONTNEED
  /// (shared or file-backed): `release` then costs nothing but page faults. Names are unique. `name`
  /// stands for the directory in messages; there are no files().
  static Checkpoint from_memory(std::string name, std::vector<TensorView> tensors,
                                std::shared_ptr<const void> owner);

  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  /// nullptr where there is no such tensor.
  const TensorView* find(std::string_view name) const;

  /// The tensor, in the given shape, with elements of f32, bf16 or f16. Throws ModelError:
  ///   model.safetensors: tensor 'a.weight' is [768, 588], expected [768, 768]
  /// A missing tensor is reported with the directory's name.
  const TensorView& require(std::string_view name, const std::vector<std::size_t>& shape) const;
  /// The same without a demand on the shape.
  const TensorView& require(std::string_view name) const;

  /// Texts of the headers' __metadata__; nullptr where there is none of that key.
  const std::string* metadata(std::string_view key) const;

  /// All tensors, by name.
  std::span<const TensorView> tensors() const;

  /// The mapped files, by name; `header` is the JSON text at the front of the file.
  struct File {
    std::string name;
    std::size_t size_bytes = 0;
    std::string_view header;
    std::span<const std::byte> data;  ///< everything behind the header
  };
  std::span<const File> files() const;

  /// Tells the system that `tensor` will be read row by row in no order (an embedding
  /// table): no read-ahead.
  void advise_random(const TensorView& tensor) const;
  /// Tells the system that `tensor` will be read soon, front to back.
  void advise_needed(const TensorView& tensor) const;
  /// The same for bytes [first, first + count) of it.
  void advise_needed(const TensorView& tensor, std::size_t first, std::size_t count) const;
  /// Drops the pages of `tensor` from this process, so that converting a checkpoint does
  /// not hold it in memory twice. The tensor stays readable: pages come back from the file.
  void release(const TensorView& tensor) const;

 private:
  struct Impl;
  explicit Checkpoint(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Copies a tensor of f32, bf16 or f16 elements to f32; out.size() == num_elements().
void read_f32(const TensorView& tensor, std::span<float> out);
/// The same for elements [first, first + out.size()): a row of a table.
void read_f32(const TensorView& tensor, std::size_t first, std::span<float> out);

/// "[768, 588]"; a scalar is "[]".
std::string shape_text(std::span<const std::size_t> shape);

}  // namespace reelfolio::engine
