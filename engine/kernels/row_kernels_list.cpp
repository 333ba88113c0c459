#include "engine/kernels/row_kernels.h"

#include <cstdlib>
#include <string>

namespace reelfolio::engine::kernels {

extern const RowKernels row_kernels_ref;
#if defined(__x86_64__)
extern const RowKernels row_kernels_avx2;
extern const RowKernels row_kernels_avx512;
#endif

namespace {

struct RowEntry {
  const RowKernels* table;
  bool (*runs_here)();
};

/// Best first, the plain one last.
const RowEntry kRowEntries[] = {
#if defined(__x86_64__)
    {&row_kernels_avx512,
     [] {
       return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
              __builtin_cpu_supports("fma");
     }},
    {&row_kernels_avx2, [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }},
#endif
    {&row_kernels_ref, [] { return true; }},
};

bool usable(const RowEntry& entry) {
  return within_kernel_limit(entry.table->name) && entry.runs_here();
}

const RowKernels* best() {
  for (const RowEntry& entry : kRowEntries) {
    if (usable(entry)) return entry.table;
  }
  return &row_kernels_ref;
}

const RowKernels*& current() {
  static const RowKernels* table = best();
  return table;
}

}  // namespace

bool within_kernel_limit(std::string_view name) {
  static const std::string limit = [] {
    const char* value = std::getenv("REELFOLIO_KERNEL_LIMIT");
    return std::string(value == nullptr ? "" : value);
  }();
  if (limit == "ref") return name == "ref";
  if (limit == "avx2") return name == "ref" || name == "avx2";
  return true;
}

const RowKernels& row_kernels() {
  return *current();
}

bool force_row_kernels(std::string_view name) {
  if (name == "auto") {
    current() = best();
    return true;
  }
  for (const RowEntry& entry : kRowEntries) {
    if (name == entry.table->name && usable(entry)) {
      current() = entry.table;
      return true;
    }
  }
  return false;
}

}  // namespace reelfolio::engine::kernels
