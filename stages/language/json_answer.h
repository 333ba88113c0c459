#pragma once

#include <optional>
#include <string_view>

#include "stages/record.h"

namespace reelfolio::stages {

/// Levels of an answer; what is nested deeper counts as no answer, since reading it recurses.
constexpr int kMaxAnswerDepth = 100;

/// The first complete JSON object in an answer, whatever stands around it: a fenced code
/// block, a sentence before, remarks after. Empty if there is none (cut off, not JSON).
/// Objects nested more than kMaxAnswerDepth levels deep count as none.
///
/// `where` (may be null) receives the part of `answer` that it is.
std::optional<Json> json_object_in(std::string_view answer, std::string_view* where = nullptr);

}  // namespace reelfolio::stages
