#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stages/stage.h"

namespace reelfolio::stages {

/// Solved examples that a prompt shows before the unit (few-shot prompting).
///
/// The file is a JSON list of objects:
///   "images"   paths of pictures, relative to the file; optional
///   "text"     the document's text; optional
///   "prompt"   what is asked, as it stands; without: the stage's own prompt for the unit at hand
///   "answer"   the answer: a text, or the JSON value that `extract` shall give
///   "answers"  in place of it, for `ask`: {name of the question: text}
///
/// Immutable; any thread may use it.
class Examples {
 public:
  Examples() = default;
  /// Reads the file that `params` names under `param`, and its pictures. Throws ParamError,
  /// naming the file and the number of the example.
  Examples(const Params& params, const StageContext& context, const std::string& param);

  /// Two messages for each example that answers the question `name`.
  void append(std::vector<engine::Message>& messages, const std::string& prompt, std::string_view name,
              int soft_tokens) const;

  /// SHA-256 over the pictures, as hex; empty without any.
  const std::string& picture_hash() const { return picture_hash_; }

 private:
  struct Example {
    std::vector<std::shared_ptr<const engine::RgbImage>> images;
    std::string text;
    std::optional<std::string> prompt;
    std::optional<std::string> answer;
    std::vector<std::pair<std::string, std::string>> answers;
  };
  std::vector<Example> examples_;
  std::string picture_hash_;
};

/// The prompt with a document's text in front of it.
std::string with_document(std::string_view document, std::string_view prompt);

}  // namespace reelfolio::stages
