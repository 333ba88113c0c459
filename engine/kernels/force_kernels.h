#pragma once

#include <string_view>

namespace reelfolio::engine::kernels {

/// Chooses the kernels of one instruction set for everything of the engine: "avx512", "avx2", "ref",
/// or "auto", the best that the processor runs. Before a model is loaded; not while others compute.
/// False, and nothing changed, where the processor or the build lacks them.
///
/// The decoder and the vision tower with integer weights give the same bits with "avx512" as with "avx2".
bool force_kernels(std::string_view name);

}  // namespace reelfolio::engine::kernels
