#pragma once

#include <span>
#include <string>
#include <string_view>

namespace reelfolio::stages {

/// The candidate that a mistyped `name` most likely means: fewest insertions, deletions,
/// replacements and swaps of neighbours, at most a third of the name's length (but two
/// are always forgiven). Empty if none is near.
std::string_view nearest_name(std::string_view name, std::span<const std::string_view> candidates);

/// "; did you mean 'x'?", or nothing. Appended to messages about an unknown name.
std::string did_you_mean(std::string_view name, std::span<const std::string_view> candidates);

}  // namespace reelfolio::stages
