#include <cstddef>
#include <cstdint>
#include <utility>

#include "engine/kernels/attention.h"

namespace reelfolio::engine::kernels {

namespace {

constexpr int kRows = 6;

void multiply(const std::uint8_t* a, const std::int8_t* b, std::int32_t* c) {
  for (int r = 0; r < kRows; ++r) {
    for (int n = 0; n < 64; ++n) {
      std::int32_t sum = 0;
      for (int k = 0; k < 64; ++k) sum += a[r * 64 + k] * b[(k / 4 * 64 + n) * 4 + k % 4];
      c[r * 64 + n] = sum;
    }
  }
}

#define REELFOLIO_ATTENTION attention_int8_ref
#define REELFOLIO_ATTENTION_NAME "int8_ref"
#define REELFOLIO_VECTOR_BYTES 16
#include "engine/kernels/attention_int8.inc"
