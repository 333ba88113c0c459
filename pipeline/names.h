#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Names in messages: quoted safely, and with the nearest valid one beside them.
namespace reelfolio::pipeline {

/// `text` without what could upset a terminal: control characters (C0, DEL, C1) become \xNN.
std::string printable(std::string_view text);

/// `text` printable, in single quotes; what goes beyond 80 bytes is cut (between characters)
/// and marked with "...".
std::string in_quotes(std::string_view text);

/// What a message about a wrong name ends with: "; did you mean 'caption'?", or
/// ", expected one of a, b, c" where nothing is near, or "" without candidates.
std::string suggestion(std::string_view name, const std::vector<std::string>& candidates);

/// "a", "a or b", "a, b or c" for the separator " or ".
std::string joined(std::span<const std::string> words, std::string_view last_separator);

}  // namespace reelfolio::pipeline
