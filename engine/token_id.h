#pragma once

#include <cstdint>

namespace reelfolio::engine {

/// Index into the vocabulary; never negative where it names a token.
using TokenId = std::int32_t;

}  // namespace reelfolio::engine
