// Times the product of int8 activations and int8 weights, through the engine's kernel and through
// oneDNN, in the shape of E4B's gate and up projections: matrices of 2560 x 10240, as many in turn as
// do not fit in a cache (decode), and one again and again (the kernels' own limit).
//
//   reelfolio_int8_bench [THREADS] [REPEATS]

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "engine/aligned_memory.h"
#include "engine/kernels/quant_kernels.h"
#include "engine/ops/matmul.h"
#include "engine/ops/onednn.h"
#include "engine/quant/packed_matrix.h"

namespace {

using namespace reelfolio::engine;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kIn = 2560;
constexpr std::size_t kOut = 10240;

struct Problem {
  explicit Problem(std::size_t count)
      : weights(allocate_aligned(count * kIn * kOut)), scales(kOut, 1.0F), sums(kOut, 0), matrices(count) {
    // Pages are touched by the threads that read them.
#pragma omp parallel for schedule(static)
    for (std::size_t i = 0; i < count * kOut; ++i)
      std::memset(weights.get() + i * kIn, static_cast<int>(1 + i % 5), kIn);
  }
  const std::int8_t* matrix(std::size_t i) const {
    return reinterpret_cast<const std::int8_t*>(weights.get()) + i * kIn * kOut;
  }

  AlignedBytes weights;
  std::vector<float> scales;
  std::vector<std::int32_t> sums;
  std::size_t matrices;
};

template <class F>
double best_seconds(int repeats, F work) {
  double best = 0;
  for (int i = 0; i < repeats; ++i) {
    const auto start = Clock::now();
    work();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (i == 0 || seconds < best) best = seconds;
  }
  return best;
}

void own(const Problem& problem, std::size_t matrix, const std::uint8_t* x, std::size_t rows, float* y) {
  const std::vector<float> ones(rows, 1.0F);
#pragma omp parallel for schedule(static)
  for (std::size_t tile = 0; tile < kOut / quant::kTileRows; ++tile) {
    kernels::Int8Args args{};
    args.input_tiles = kIn / quant::kTileInputs;
    args.weights = problem.matrix(matrix);
    args.row_scales = problem.scales.data();
    args.row_sums = problem.sums.data();
    args.out = kOut;
    args.first_tile = tile;
    args.last_tile = tile + 1;
    args.rows = rows;
    args.x = x;
    args.x_stride = kIn;
    args.x_scales = ones.data();
    args.y = y;
    args.y_stride = kOut;
    kernels::quant_kernels().int8(args);
  }
}

ops::CompiledMatmul onednn_product(std::size_t rows) {
  ops::CompiledMatmul made;
  made.a = {{ops::Dim(rows), ops::Dim(kIn)}, ops::Type::u8, ops::Tag::ab};
  made.b = {{ops::Dim(kIn), ops::Dim(kOut)}, ops::Type::s8, ops::Tag::BA16a64b4a};
  made.c = {{ops::Dim(rows), ops::Dim(kOut)}, ops::Type::s32, ops::Tag::ab};
  made.primitive = dnnl::matmul(ops::describe_matmul(made.a, made.b, made.c));
  return made;
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : omp_get_num_procs();
  const int repeats = argc > 2 ? std::atoi(argv[2]) : 5;
  ops::set_num_threads(threads);
  std::printf("%s, int8 kernel %s, %d threads, best of %d\n", ops::matmul_description().c_str(),
              kernels::quant_kernels().name, threads, repeats);
  for (const std::size_t matrices : {std::size_t{1}, std::size_t{12}}) {
    const Problem problem(matrices);
    std::printf("%zu x %zu, %zu in turn%16s%24s\n", kIn, kOut, matrices, "kernel", "oneDNN");
    for (const std::size_t rows : {1, 4, 8, 16, 32, 128, 512}) {
      std::vector<std::uint8_t> x(rows * kIn, 130);
      std::vector<float> y(rows * kOut);
      std::vector<std::int32_t> sums(rows * kOut);
      const ops::CompiledMatmul product = onednn_product(rows);
      const double operations = 2.0 * static_cast<double>(matrices * rows) * kIn * kOut;
      std::printf("%4zu rows", rows);
      for (const bool through_onednn : {false, true}) {
        const auto work = [&] {
          for (std::size_t i = 0; i < matrices; ++i) {
            if (through_onednn) {
              product.run(x.data(), problem.matrix(i), sums.data());
            } else {
              own(problem, i, x.data(), rows, y.data());
            }
          }
        };
        work();
        const double seconds = best_seconds(repeats, work);
        std::printf("  %8.3f ms %5.0f G op/s", 1e3 * seconds / static_cast<double>(matrices),
                    1e-9 * operations / seconds);
      }
      std::printf("\n");
    }
  }
}
