#include "engine/quant/rotation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

namespace reelfolio::engine::quant {
namespace {

constexpr std::size_t kMaxBlock = 256;

// One sign for each place of a block; all blocks share them. Part of the packed
// format: changing the generator invalidates every packed model.
std::array<float, kMaxBlock> make_signs() {
  std::array<float, kMaxBlock> signs{};
  std::uint64_t state = 0x9E3779B97F4A7C15ULL;
  for (float& sign : signs) {
    state += 0x9E3779B97F4A7C15ULL;  // splitmix64
    std::uint64_t z = state;
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBULL;
    z ^= z >> 31U;
    sign = (z & 1U) != 0 ? 1.0F : -1.0F;
  }
  return signs;
}

const std::array<float, kMaxBlock>& signs() {
  static const std::array<float, kMaxBlock> table = make_signs();
  return table;
}

// Unnormalised Walsh-Hadamard transform of a power-of-two length, in place.
void hadamard(float* x, std::size_t n) {
  for (std::size_t half = 1; half < n; half *= 2) {
    for (std::size_t start = 0; start < n; start += 2 * half) {
      float* a = x + start;
      float* b = a + half;
      for (std::size_t i = 0; i < half; ++i) {
        const float u = a[i];
        const float v = b[i];
        a[i] = u + v;
        b[i] = u - v;
      }
    }
  }
}

}  // namespace

std::size_t rotation_block(std::size_t n) {
  std::size_t block = 1;
  while (block < kMaxBlock && n % (2 * block) == 0 && n != 0) block *= 2;
  return block;
}

std::span<const float> rotation_signs() {
  return signs();
}

void rotate_row(std::span<float> row) {
  const std::size_t block = rotation_block(row.size());
  const float norm = 1.0F / std::sqrt(static_cast<float>(block));
  const auto& sign = signs();
  for (std::size_t start = 0; start < row.size(); start += block) {
    float* x = row.data() + start;
    for (std::size_t i = 0; i < block; ++i) x[i] *= sign[i] * norm;
    hadamard(x, block);
  }
}

void unrotate_row(std::span<float> row) {
  const std::size_t block = rotation_block(row.size());
  const float norm = 1.0F / std::sqrt(static_cast<float>(block));
  const auto& sign = signs();
  for (std::size_t start = 0; start < row.size(); start += block) {
    float* x = row.data() + start;
    hadamard(x, block);
    for (std::size_t i = 0; i < block; ++i) x[i] *= sign[i] * norm;
  }
}

}  // namespace reelfolio::engine::quant
