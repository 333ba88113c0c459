#include "engine/kernels/attention.h"
#include "engine/kernels/quant_kernels.h"
#include "engine/kernels/row_kernels.h"

namespace reelfolio::engine::kernels {

extern const AttentionKernel attention_ref;
extern const AttentionKernel attention_int8_ref;
#if defined(__x86_64__)
extern const AttentionKernel attention_avx2;
extern const AttentionKernel attention_avx512;
extern const AttentionKernel attention_avx512_bf16;
extern const AttentionKernel attention_int8_avx2;
extern const AttentionKernel attention_int8_avx512vnni;
#endif

namespace {

struct AttentionEntry {
  const AttentionKernel* kernel;
  std::string_view row_table;  ///< the row kernels of the same instructions
  bool (*runs_here)();
};

/// Best first, the plain one last.
const AttentionEntry kAttentionEntries[] = {
#if defined(__x86_64__)
    {&attention_avx512_bf16, "avx512",
     [] {
       return __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
              __builtin_cpu_supports("avx512bf16");
     }},
    {&attention_avx512, "avx512", [] { return __builtin_cpu_supports("avx512f") != 0; }},
    {&attention_avx2, "avx2", [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }},
#endif
    {&attention_ref, "ref", [] { return true; }},
};

/// The int8 kernel that goes with a table of quant_kernels.h.
const AttentionKernel& int8_kernel(std::string_view table) {
#if defined(__x86_64__)
  if (table == "avx512") return attention_int8_avx512vnni;
  if (table == "avx2") return attention_int8_avx2;
#endif
  return attention_int8_ref;
}

}  // namespace

std::vector<const AttentionKernel*> attention_kernels() {
  std::vector<const AttentionKernel*> kernels;
  for (const AttentionEntry& entry : kAttentionEntries) {
    if (within_kernel_limit(entry.row_table) && entry.runs_here()) kernels.push_back(entry.kernel);
  }
  return kernels;
}

std::vector<const AttentionKernel*> int8_attention_kernels() {
  std::size_t count = 0;
  const QuantKernels* tables = quant_kernel_list(count);
  std::vector<const AttentionKernel*> kernels;
  for (std::size_t i = 0; i < count; ++i) {
    if (tables[i].supported()) kernels.push_back(&int8_kernel(tables[i].name));
  }
  return kernels;
}

const AttentionKernel& best_attention_kernel(ops::WeightType type) {
  if (ops::is_quantized(type)) return int8_kernel(quant_kernels().name);
  const std::string_view table = row_kernels().name;
  bool allowed = false;
  for (const AttentionEntry& entry : kAttentionEntries) {
    // Entries from the table in use downwards.
    allowed = allowed || entry.row_table == table;
    const bool precise = type != ops::WeightType::f32 || entry.kernel->type == ops::WeightType::f32;
    if (allowed && precise && entry.runs_here()) return *entry.kernel;
  }
  return attention_ref;
}

}  // namespace reelfolio::engine::kernels
