#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "engine/engine.h"
#include "stages/record.h"

namespace reelfolio::stages {

/// How sure the model was of a stretch of its answer: the geometric mean of the probabilities of the
/// tokens that touch it, from 0 to 1, rounded to four digits. Tokens that a constraint forced do
/// not count; without any other it is 1.
double confidence_of(std::span<const engine::AnswerToken> tokens, std::size_t begin, std::size_t end);

/// The same for each text, number, boolean and null of the JSON object that stands in the answer:
/// {JSON pointer: confidence}. `object` is the part of answer.text that json_object_text finds.
Json confidence_of_fields(const engine::Answer& answer, std::string_view object);

}  // namespace reelfolio::stages
