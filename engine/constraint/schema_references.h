#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace reelfolio::engine::constraint {

/// Rewrites every `$ref` of a JSON Schema that leads to a place in the same document by an `$id`, an
/// `$anchor` or percent escapes as "#" and the JSON pointer of that place, and drops the `$id` and
/// `$anchor` that have done their work. What leads elsewhere, or to a key with a '%', stays as it is.
/// Doing it again changes nothing. Any JSON will do.
void point_references(nlohmann::ordered_json& document);

/// %XX as the bytes they stand for; absent where a '%' stands for none.
std::optional<std::string> percent_decoded(std::string_view text);

}  // namespace reelfolio::engine::constraint
