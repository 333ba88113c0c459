#include "engine/machine_limits.h"

#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/aligned_memory.h"
#include "engine/ops/matmul.h"
#include "engine/stopwatch.h"
#include "engine/tensor.h"

namespace reelfolio::engine {

namespace {

template <class Work>
double best_seconds(int repeats, Work work) {
  double best = 0;
  for (int i = 0; i < repeats; ++i) {
    const auto start = Clock::now();
    work();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (i == 0 || seconds < best) best = seconds;
  }
  return best;
}

std::size_t default_buffer_bytes() {
  constexpr std::size_t kLeast = std::size_t{1} << 30;
  const long cache = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page_bytes = ::sysconf(_SC_PAGESIZE);
  const std::size_t wanted = std::max(kLeast, 4 * static_cast<std::size_t>(std::max(cache, 0L)));
  if (pages <= 0 || page_bytes <= 0) return wanted;
  return std::min(wanted, static_cast<std::size_t>(pages) / 8 * static_cast<std::size_t>(page_bytes));
}

/// Reads `lines` cache lines. Eight sums: a single one would wait for its own additions.
std::uint64_t read_lines(const std::uint64_t* data, std::size_t lines) {
  std::array<std::uint64_t, 8> sums{};
  for (std::size_t i = 0; i < lines; ++i) {
    for (std::size_t j = 0; j < sums.size(); ++j) sums[j] += data[8 * i + j];
  }
  std::uint64_t total = 0;
  for (const std::uint64_t sum : sums) total += sum;
  return total;
}

double memory_read_bytes_s(int repeats, std::size_t buffer_bytes) {
  constexpr std::size_t kLineBytes = 64;
  const std::size_t lines = std::max<std::size_t>(buffer_bytes / kLineBytes, 1);
  const AlignedBytes buffer = allocate_aligned(lines * kLineBytes);
  auto* words = reinterpret_cast<std::uint64_t*>(buffer.get());
  // Each thread touches first what it reads later, so that the memory lies at its own node.
  const auto each_share = [lines](auto f) {
#pragma omp parallel
    {
      const auto threads = static_cast<std::size_t>(omp_get_num_threads());
      const auto thread = static_cast<std::size_t>(omp_get_thread_num());
      const std::size_t begin = lines * thread / threads;
      f(begin, lines * (thread + 1) / threads - begin);
    }
  };
  each_share([&](std::size_t first, std::size_t count) {
    std::fill_n(words + 8 * first, 8 * count, std::uint64_t{1});
  });
  const double seconds = best_seconds(repeats, [&] {
    each_share([&](std::size_t first, std::size_t count) {
      // Kept, so that the compiler does not drop the reading.
      [[maybe_unused]] volatile std::uint64_t sum = read_lines(words + 8 * first, count);
    });
  });
  return static_cast<double>(lines * kLineBytes) / seconds;
}

double matmul_op_s(ops::WeightType type, int repeats, const LimitSizes& sizes) {
  // bf16 near 0.02 of both signs.
  std::vector<std::uint16_t> weights(sizes.in * sizes.out);
  std::uint32_t state = 1;
  for (std::uint16_t& word : weights) {
    state = state * 1664525U + 1013904223U;
    word = static_cast<std::uint16_t>((state >> 16 & 0x80FFU) | 0x3C00U);
  }
  const ops::Linear linear(std::as_bytes(std::span(weights)), DType::bf16, sizes.out, sizes.in, type);
  MatrixBuffer x(sizes.rows, sizes.in);
  MatrixBuffer y(sizes.rows, sizes.out);
  for (std::size_t r = 0; r < sizes.rows; ++r) {
    for (std::size_t c = 0; c < sizes.in; ++c) x.row(r)[c] = static_cast<float>((r + 3 * c) % 17) - 8.0F;
  }
  // Shared, so that rounding the input to int8 is done once and not timed.
  const ops::LinearInput input(std::as_const(x).view());
  linear.apply(input, y.view());  // compiles the primitive
  const double seconds = best_seconds(repeats, [&] { linear.apply(input, y.view()); });
  return 2.0 * static_cast<double>(sizes.rows) * static_cast<double>(sizes.in * sizes.out) / seconds;
}

}  // namespace

MachineLimits measure_machine_limits(int repeats, const LimitSizes& sizes) {
  MachineLimits limits;
  limits.memory_read_bytes_s =
      memory_read_bytes_s(repeats, sizes.buffer_bytes > 0 ? sizes.buffer_bytes : default_buffer_bytes());
  limits.matmul_f32_op_s = matmul_op_s(ops::WeightType::f32, repeats, sizes);
  limits.matmul_bf16_op_s = matmul_op_s(ops::WeightType::bf16, repeats, sizes);
  limits.matmul_int8_op_s = matmul_op_s(ops::WeightType::int8, repeats, sizes);
  return limits;
}

}  // namespace reelfolio::engine
