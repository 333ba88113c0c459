#include "engine/ops/gather.h"

#include <cstring>

#include "engine/kernels/row_kernels.h"

namespace reelfolio::engine::ops {

namespace {

/// Elements of `source` that are copied out of an unaligned mapping at a time.
constexpr std::size_t kPiece = 512;

}  // namespace

void convert_to_f32(std::span<const std::byte> bytes, DType dtype, std::size_t first, Vector out) {
  assert((first + out.size()) * dtype_bytes(dtype) <= bytes.size());
  const std::byte* source = bytes.data() + first * dtype_bytes(dtype);
  if (dtype == DType::f32) {
    std::memcpy(out.data(), source, out.size() * sizeof(float));
    return;
  }
  assert(dtype == DType::bf16 || dtype == DType::f16);
  std::uint16_t piece[kPiece];
  for (std::size_t done = 0; done < out.size(); done += kPiece) {
    const std::size_t count = out.size() - done < kPiece ? out.size() - done : kPiece;
    std::memcpy(piece, source + done * sizeof(std::uint16_t), count * sizeof(std::uint16_t));
    if (dtype == DType::bf16) {
      kernels::row_kernels().bf16_to_f32(piece, out.data() + done, count);
    } else {
      for (std::size_t i = 0; i < count; ++i) out[done + i] = f16_to_f32(piece[i]);
    }
  }
}

}  // namespace reelfolio::engine::ops
