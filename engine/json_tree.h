#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

/// Walking JSON values that nobody vouches for. The functions keep no state: any thread.
namespace reelfolio::engine {

/// Whether `value` nests deeper than `levels` (an atom, {} and [] have none), without recursion: what
/// copies, prints or reads it may recurse.
bool nests_deeper_than(const nlohmann::ordered_json& value, std::size_t levels);

/// `key` as a step of a JSON pointer (RFC 6901): ~ is ~0, / is ~1.
std::string pointer_step(std::string_view key);

/// What `pointer` leads to below `root`; null if it is no JSON pointer or leads to nothing.
const nlohmann::ordered_json* at_pointer(const nlohmann::ordered_json& root, const std::string& pointer);

}  // namespace reelfolio::engine
