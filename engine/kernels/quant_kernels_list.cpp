#include "engine/kernels/quant_kernels.h"

#include <cstring>

#include "engine/kernels/row_kernels.h"

namespace reelfolio::engine::kernels {
namespace {

#if defined(__x86_64__)
bool has_avx512vnni() {
  return within_kernel_limit("avx512") && __builtin_cpu_supports("avx512f") != 0 &&
         __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512vl") != 0 &&
         __builtin_cpu_supports("avx512vnni") != 0;
}
bool has_avx2() {
  return within_kernel_limit("avx2") && __builtin_cpu_supports("avx2") != 0;
}
#endif
bool always() {
  return true;
}

constexpr QuantKernels kKernels[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512vnni, lowbit_matmul_avx512vnni, lowbit_expand_avx512vnni, int8_matmul_avx512vnni,
     round_row_avx512},
    {"avx2", has_avx2, lowbit_matmul_avx2, lowbit_expand_avx2, int8_matmul_avx2, round_row_avx2},
#endif
    {"ref", always, lowbit_matmul_ref, nullptr, int8_matmul_ref, round_row_ref},
};

const QuantKernels* best() {
  const QuantKernels* kernels = kKernels;
  while (!kernels->supported()) ++kernels;
  return kernels;
}

const QuantKernels*& current() {
  static const QuantKernels* kernels = best();
  return kernels;
}

}  // namespace

const QuantKernels* quant_kernel_list(std::size_t& count) {
  count = sizeof(kKernels) / sizeof(kKernels[0]);
  return kKernels;
}

const QuantKernels& quant_kernels() {
  return *current();
}

bool force_quant_kernels(const char* name) {
  if (std::strcmp(name, "auto") == 0) {
    current() = best();
    return true;
  }
  for (const QuantKernels& kernels : kKernels) {
    if (std::strcmp(kernels.name, name) == 0 && kernels.supported()) {
      current() = &kernels;
      return true;
    }
  }
  return false;
}

}  // namespace reelfolio::engine::kernels
