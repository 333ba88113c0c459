#pragma once

#include <optional>
#include <string_view>

#include "engine/ops/matmul.h"

namespace reelfolio::engine::text {

/// How keys and values are stored. bf16 halves the memory of f32 and rounds each number once; int8 halves
/// it again, with one scale for each position and head.
enum class KvType { f32, bf16, int8 };

/// "f32", "bf16", "int8": the words of --kv-cache.
std::string_view kv_type_name(KvType type);
std::optional<KvType> find_kv_type(std::string_view name);

/// What is used with weights of that type where nobody says otherwise: int8 for those that spare memory (and
/// err far more), f32 for f32, else bf16.
KvType default_kv_type(ops::WeightType weights);

}  // namespace reelfolio::engine::text
