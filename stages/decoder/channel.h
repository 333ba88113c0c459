#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "stages/descriptor.h"

/// How a decoder process and its parent reach each other: memory that both see, of a size that neither
/// can change, and a socket whose short messages say when to look there.
namespace reelfolio::stages {

/// Memory of a fixed size that two processes share; only what is written takes up memory.
class SharedMemory {
 public:
  /// Throws std::system_error.
  explicit SharedMemory(std::uint64_t bytes);
  SharedMemory(Descriptor fd, std::uint64_t bytes) : fd_(std::move(fd)), bytes_(bytes) {}

  int fd() const { return fd_.get(); }
  std::uint64_t size() const { return bytes_; }
  /// Copies out of it. What the other side writes meanwhile may be torn, nothing worse. False if
  /// that lies outside.
  bool read(std::uint64_t offset, void* to, std::size_t size) const;
  /// Gives memory back that was written from `offset` on.
  void forget(std::uint64_t offset, std::uint64_t size) const;

 private:
  Descriptor fd_;
  std::uint64_t bytes_;
};

/// A part of shared memory in this process's address space.
class SharedView {
 public:
  SharedView() = default;
  /// Throws std::bad_alloc if there is no room.
  SharedView(const SharedMemory& memory, std::uint64_t offset, std::size_t size);
  ~SharedView();
  SharedView(SharedView&& other) noexcept;
  SharedView& operator=(SharedView&& other) noexcept;
  std::uint8_t* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  std::uint8_t* data_ = nullptr;
  std::size_t size_ = 0;
};

/// At the start of the shared memory, in a page of its own, made by the parent. The process writes, the
/// parent looks: hints for display and error records, no more.
struct SharedState {
  static constexpr std::size_t kBytes = 4096;
  std::atomic<std::int32_t> stage{-1};
  std::atomic<std::uint32_t> beats{0};  ///< moves while work goes on
  std::atomic<float> part{0};           ///< of the input, decoded
};
static_assert(std::atomic<float>::is_always_lock_free && std::atomic<std::uint32_t>::is_always_lock_free);

/// Blobs of a message follow it at multiples of this.
constexpr std::uint64_t kBlobAlignment = 64;
inline std::uint64_t next_blob(std::uint64_t offset) {
  return (offset + kBlobAlignment - 1) / kBlobAlignment * kBlobAlignment;
}

/// A pair of connected sockets that keep messages apart. Throws std::system_error.
std::array<Descriptor, 2> socket_pair();

/// Sends all of `bytes` and copies of `fds` (at most kMostFds). False if the other side is gone.
constexpr std::size_t kMostFds = 8;
bool send_message(int socket, std::span<const std::uint8_t> bytes, std::span<const int> fds = {});

/// One message, waited for; absent if the other side is gone or the message is longer than `most`
/// bytes. `fds` (may be null) receives the descriptors that came along.
std::optional<std::vector<std::uint8_t>> receive_message(int socket, std::size_t most,
                                                         std::vector<Descriptor>* fds = nullptr);

}  // namespace reelfolio::stages
