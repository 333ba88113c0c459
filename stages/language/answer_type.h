#pragma once

#include <memory>
#include <string>
#include <vector>

#include "stages/record.h"

namespace reelfolio::engine {
class Constraint;
}

namespace reelfolio::stages {

/// What an answer of `ask` may be. Immutable; any thread may use it.
class AnswerType {
 public:
  /// "text", "integer", "number", "boolean", or choices parted by '|' ("indoors | outdoors").
  /// Throws ParamError about `param`.
  static AnswerType parse(const std::string& written, const std::string& param);
  /// One of these texts. Throws ParamError about `param`: fewer than two, empty ones, equal ones.
  static AnswerType choices(const std::vector<std::string>& texts, const std::string& param);

  /// What prompts say about it, a sentence.
  const std::string& form() const { return form_; }
  /// What the engine holds the answer to; null for text.
  const std::shared_ptr<const engine::Constraint>& constraint() const { return constraint_; }
  /// The number or truth value that `text` is; null for texts and choices, and where `text` is
  /// none (cut off).
  Json value(const std::string& text) const;

 private:
  enum class Kind { text, integer, number, boolean, choices };
  Kind kind_ = Kind::text;
  std::string form_ = "Answer with a word or a short phrase.";
  std::shared_ptr<const engine::Constraint> constraint_;
};

}  // namespace reelfolio::stages
