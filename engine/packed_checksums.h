#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/safetensors.h"

/// Checksums of a packed file. Its last tensor, kChecksumsName, U8 [4 * (1 + blocks)], holds CRC-32C sums as
/// little-endian words: of the header's text, then of each block of kChecksumBlock bytes of all
/// data in front of that tensor, the last one shorter. They show damage and copies in part, not malice.
namespace reelfolio::engine {

inline constexpr std::string_view kChecksumsName = "reelfolio.checksums";
inline constexpr std::size_t kChecksumBlock = std::size_t{64} << 10;

/// Sums the bytes of a file's data while they are written, in pieces of any size.
class ChecksumWriter {
 public:
  void add(std::span<const std::byte> bytes);
  /// The words of the blocks so far, the last one's included.
  std::vector<std::uint32_t> finish();

 private:
  std::vector<std::uint32_t> sums_;
  std::vector<std::byte> rest_;  ///< of a block that is not full
};

std::uint32_t checksum_of(std::span<const std::byte> bytes);

/// The checksums of an opened packed file, which must outlive this. `damaged` may be called from one
/// thread at a time, and so may `require`.
class PackedChecksums {
 public:
  /// Throws ModelError where they are missing or do not cover the file, or the header is damaged.
  explicit PackedChecksums(const Checkpoint& checkpoint);

  /// Reads every byte of the tensors, on the engine's OpenMP threads, and gives those that do not match,
  /// in their order. `drop`: pages leave this process's memory again once they are read.
  std::vector<const TensorView*> damaged(std::span<const TensorView* const> tensors, bool drop) const;

  /// Has the blocks that `require` will read for these bytes fetched from the disk, all at once.
  void advise_needed(const TensorView& tensor, std::size_t first, std::size_t count) const;

  /// Checks the blocks that bytes [first, first + count) of a tensor lie in, each block once in this
  /// object's life. Throws ModelError naming the tensor.
  void require(const TensorView& tensor, std::size_t first, std::size_t count);

  static std::string complaint(const TensorView& tensor);

 private:
  std::span<const std::byte> block(std::size_t index) const;
  std::size_t offset(const TensorView& tensor) const {
    return static_cast<std::size_t>(tensor.bytes.data() - data_.data());
  }
  std::uint32_t sum(std::size_t index) const;

  std::span<const std::byte> data_;  ///< what the sums cover
  std::span<const std::byte> sums_;
  std::vector<bool> known_good_;
  const Checkpoint& checkpoint_;
};

}  // namespace reelfolio::engine
