#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace reelfolio::stages {

/// A regular file opened for reading. Owns the descriptor; one thread at a time.
/// Opening never blocks: a fifo, device or socket is refused without being opened.
class ByteSource {
 public:
  /// Throws ItemError: input.unreadable (with the system's reason), input.not_a_file.
  explicit ByteSource(const std::filesystem::path& path);
  ~ByteSource();
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  /// Up to `size` bytes at the current position; fewer only at the end of the file or
  /// after a read error, which `failed` tells. Throws nothing, so that C libraries may
  /// call it.
  std::size_t read(void* to, std::size_t size) noexcept;
  /// Moves to `offset` bytes from the start; may lie beyond the end.
  void seek(std::uint64_t offset) noexcept { position_ = offset; }
  std::uint64_t position() const { return position_; }
  int descriptor() const { return fd_; }
  /// When opened.
  std::uint64_t size() const { return size_; }
  /// Whether size or modification time differ from when it was opened. Throws ItemError
  /// input.unreadable.
  bool changed() const;
  /// A read wanted more than there was: the picture's data is cut off.
  bool hit_end() const { return hit_end_; }
  bool failed() const { return error_ != 0; }
  /// Of the first failed read; 0 if there is none.
  int error() const { return error_; }

  /// The whole file from its start. Throws ItemError input.unreadable;
  /// `max_bytes` guards the allocation: image.too_large.
  std::vector<std::uint8_t> read_all(std::uint64_t max_bytes);

 private:
  int fd_ = -1;
  std::uint64_t position_ = 0;
  std::uint64_t size_ = 0;
  bool hit_end_ = false;
  int error_ = 0;
  std::int64_t modified_s_ = 0;
  std::int64_t modified_ns_ = 0;
};

}  // namespace reelfolio::stages
