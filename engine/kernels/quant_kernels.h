#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/kernels/int8_matmul.h"
#include "engine/kernels/lowbit_matmul.h"
#include "engine/kernels/round_row.h"

namespace reelfolio::engine::kernels {

/// Kernels of one instruction set for all quantised weights.
struct QuantKernels {
  const char* name;  ///< "avx512", "avx2", "ref": the words of --kernels
  bool (*supported)();
  LowBitFunction lowbit;
  /// Null: products of many rows go through `lowbit` too.
  void (*expand)(const LowBitArgs&, std::int8_t*);
  Int8Function int8;
  RoundRowFunction round_row;
};

/// Best first, `ref` last; `count` receives the number.
const QuantKernels* quant_kernel_list(std::size_t& count);

/// The kernels in use: the best that the processor runs, unless `force` chose others.
const QuantKernels& quant_kernels();

/// Makes those of that name the ones in use, "auto" the best. False where the processor
/// lacks them. Not while others compute.
bool force_quant_kernels(const char* name);

}  // namespace reelfolio::engine::kernels
