#pragma once

#include <cstddef>

namespace reelfolio::engine::ops {

/// Elements below which starting threads costs more than it saves, for a few operations each.
constexpr std::size_t kParallelElements = 16384;

}  // namespace reelfolio::engine::ops
