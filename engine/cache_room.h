#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "engine/text/kv_cache.h"

namespace reelfolio::engine {

/// Memory that this process may still take without pushing others out: the system's MemAvailable, or
/// what its control groups (v2) leave where that is less. Nullopt where neither can be read.
std::optional<std::uint64_t> available_memory_bytes();

/// Throws RequestError, with the numbers, where a sequence of `positions`, prefilled `chunk` positions at a
/// time, comes to more keys and values than `available` bytes hold.
void require_cache_room(const text::KvLayout& layout, std::size_t positions, std::size_t chunk,
                        std::uint64_t available);

}  // namespace reelfolio::engine
