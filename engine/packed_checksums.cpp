#include "engine/packed_checksums.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstring>

#include "engine/error.h"
#include "engine/kernels/crc32c.h"

namespace reelfolio::engine {

namespace {

/// Blocks that a thread checks at a time.
constexpr std::size_t kBlocksTogether = 16;

std::size_t block_count(std::size_t bytes) {
  return (bytes + kChecksumBlock - 1) / kChecksumBlock;
}

}  // namespace

std::uint32_t checksum_of(std::span<const std::byte> bytes) {
  std::uint32_t sum = 0;
  kernels::crc32c_function()(bytes.data(), bytes.size(), 1, &sum);
  return sum;
}

void ChecksumWriter::add(std::span<const std::byte> bytes) {
  const auto fill = [&](std::size_t count) {
    rest_.insert(rest_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
    bytes = bytes.subspan(count);
  };
  if (!rest_.empty()) {
    fill(std::min(bytes.size(), kChecksumBlock - rest_.size()));
    if (rest_.size() < kChecksumBlock) return;
    sums_.push_back(checksum_of(rest_));
    rest_.clear();
  }
  const std::size_t whole = bytes.size() / kChecksumBlock;
  sums_.resize(sums_.size() + whole);
  kernels::crc32c_function()(bytes.data(), kChecksumBlock, whole, sums_.data() + sums_.size() - whole);
  bytes = bytes.subspan(whole * kChecksumBlock);
  fill(bytes.size());
}

std::vector<std::uint32_t> ChecksumWriter::finish() {
  if (!rest_.empty()) sums_.push_back(checksum_of(rest_));
  rest_.clear();
  return std::move(sums_);
}

PackedChecksums::PackedChecksums(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {
  assert(checkpoint.files().size() == 1);
  const Checkpoint::File& file = checkpoint.files().front();
  const TensorView* sums = checkpoint.find(kChecksumsName);
  const auto fail = [&file](const std::string& what) {
    throw ModelError(file.name + ": tensor '" + std::string(kChecksumsName) + "' " + what);
  };
  if (sums == nullptr) fail("is missing");
  data_ = file.data.first(static_cast<std::size_t>(sums->bytes.data() - file.data.data()));
  sums_ = sums->bytes;
  const std::size_t expected = 4 * (1 + block_count(data_.size()));
  if (data_.size() + sums_.size() != file.data.size()) fail("is not the last one");
  if (sums_.size() != expected) {
    fail("has " + std::to_string(sums_.size()) + " bytes, expected " + std::to_string(expected));
  }
  if (checksum_of(std::as_bytes(std::span(file.header))) != sum(0)) {
    throw ModelError(file.name +
                     ": header does not match its checksum: the file is damaged or was copied in part");
  }
  known_good_.resize(block_count(data_.size()));
}

std::uint32_t PackedChecksums::sum(std::size_t index) const {
  std::uint32_t word = 0;
  std::memcpy(&word, sums_.data() + 4 * index, sizeof word);
  return word;
}

std::span<const std::byte> PackedChecksums::block(std::size_t index) const {
  const std::size_t start = index * kChecksumBlock;
  return data_.subspan(start, std::min(kChecksumBlock, data_.size() - start));
}

std::vector<const TensorView*> PackedChecksums::damaged(std::span<const TensorView* const> tensors,
                                                        bool drop) const {
  // Tensors share the blocks at their ends: each wanted block is summed once.
  std::vector<std::uint8_t> state(known_good_.size());
  enum : std::uint8_t { ignored, wanted, bad };
  const auto each_block = [&](const TensorView& tensor, const auto& use) {
    if (tensor.bytes.empty()) return;
    for (std::size_t i = offset(tensor) / kChecksumBlock;
         i <= (offset(tensor) + tensor.bytes.size() - 1) / kChecksumBlock; ++i) {
      use(state[i]);
    }
  };
  for (const TensorView* tensor : tensors) {
    if (tensor->name == kChecksumsName) continue;
    checkpoint_.advise_needed(*tensor);
    each_block(*tensor, [](std::uint8_t& s) { s = wanted; });
  }
  const auto check = kernels::crc32c_function();
  const std::size_t whole = data_.size() / kChecksumBlock;
#pragma omp parallel for schedule(dynamic, 1)
  for (std::size_t first = 0; first < state.size(); first += kBlocksTogether) {
    std::array<std::uint32_t, kBlocksTogether> sums{};
    const std::size_t end = std::min(first + kBlocksTogether, state.size());
    for (std::size_t i = first; i < end;) {
      std::size_t run = i;
      while (run < end && state[run] == wanted && run < whole) ++run;
      if (run > i) {
        check(block(i).data(), kChecksumBlock, run - i, sums.data());
      } else {
        if (state[i] == wanted) sums[0] = checksum_of(block(i));
        run = i + 1;
      }
      for (std::size_t k = i; k < run; ++k) {
        if (state[k] == wanted && sums[k - i] != sum(1 + k)) state[k] = bad;
      }
      i = run;
    }
    if (drop) {
      TensorView read;
      read.bytes = data_.subspan(first * kChecksumBlock);
      read.bytes = read.bytes.first(std::min(read.bytes.size(), kBlocksTogether * kChecksumBlock));
      checkpoint_.release(read);
    }
  }
  std::vector<const TensorView*> result;
  for (const TensorView* tensor : tensors) {
    if (tensor->name == kChecksumsName) continue;
    bool fine = true;
    each_block(*tensor, [&fine](std::uint8_t s) { fine = fine && s != bad; });
    if (!fine) result.push_back(tensor);
  }
  return result;
}

void PackedChecksums::advise_needed(const TensorView& tensor, std::size_t first, std::size_t count) const {
  assert(count > 0 && first + count <= tensor.bytes.size());
  const std::size_t start = offset(tensor) + first;
  for (std::size_t i = start / kChecksumBlock; i <= (start + count - 1) / kChecksumBlock; ++i) {
    if (known_good_[i]) continue;
    TensorView whole;
    whole.bytes = block(i);
    checkpoint_.advise_needed(whole);
  }
}

void PackedChecksums::require(const TensorView& tensor, std::size_t first, std::size_t count) {
  assert(count > 0 && first + count <= tensor.bytes.size());
  const std::size_t start = offset(tensor) + first;
  for (std::size_t i = start / kChecksumBlock; i <= (start + count - 1) / kChecksumBlock; ++i) {
    if (known_good_[i]) continue;
    if (checksum_of(block(i)) != sum(1 + i)) throw ModelError(complaint(tensor));
    known_good_[i] = true;
  }
}

std::string PackedChecksums::complaint(const TensorView& tensor) {
  return tensor.file + ": tensor '" + tensor.name +
         "' does not match its checksum: the file is damaged or was copied in part";
}

}  // namespace reelfolio::engine
