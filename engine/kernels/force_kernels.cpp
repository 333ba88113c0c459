#include "engine/kernels/force_kernels.h"

#include <string>

#include "engine/kernels/quant_kernels.h"
#include "engine/kernels/row_kernels.h"

namespace reelfolio::engine::kernels {

bool force_kernels(std::string_view name) {
  const std::string rows_before = row_kernels().name;
  if (!force_row_kernels(name)) return false;
  if (force_quant_kernels(std::string(name).c_str())) return true;
  force_row_kernels(rows_before);
  return false;
}

}  // namespace reelfolio::engine::kernels
