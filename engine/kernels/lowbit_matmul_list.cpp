#include "engine/kernels/lowbit_matmul.h"

namespace reelfolio::engine::kernels {
namespace {

#if defined(__x86_64__)
bool has_avx512vnni() {
  return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
         __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512vnni") != 0;
}
bool has_avx2() {
  return __builtin_cpu_supports("avx2") != 0;
}
#endif
bool always() {
  return true;
}

constexpr LowBitKernel kKernels[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512vnni, lowbit_matmul_avx512vnni},
    {"avx2", has_avx2, lowbit_matmul_avx2},
#endif
    {"ref", always, lowbit_matmul_ref},
};

}  // namespace

const LowBitKernel* lowbit_kernels(std::size_t& count) {
  count = sizeof(kKernels) / sizeof(kKernels[0]);
  return kKernels;
}

}  // namespace reelfolio::engine::kernels
