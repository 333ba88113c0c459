#include <string_view>

#include "engine/kernels/panel_matmul.h"
#include "engine/kernels/row_kernels.h"

namespace reelfolio::engine::kernels {

extern const PanelKernel panel_matmul_ref;
#if defined(__x86_64__)
extern const PanelKernel panel_matmul_avx2;
extern const PanelKernel panel_matmul_avx512;
#endif

const PanelKernel& panel_kernel() {
#if defined(__x86_64__)
  // A table of row kernels in use runs here, and so does what needs the same instructions.
  const std::string_view name = row_kernels().name;
  for (const PanelKernel* kernel : {&panel_matmul_avx512, &panel_matmul_avx2}) {
    if (name == kernel->name) return *kernel;
  }
#endif
  return panel_matmul_ref;
}

}  // namespace reelfolio::engine::kernels
