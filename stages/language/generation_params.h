#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stages/language/prompt_template.h"
#include "stages/stage.h"

/// What caption, ask and extract have in common: the parameters that shape a request,
/// and the way from an item to a request and from an answer to JSON.
namespace reelfolio::stages {

struct PromptDefaults {
  std::string_view prompt;
  std::string_view prompt_help;
  std::int64_t max_tokens;
};

/// The rows prompt, prompt_file, system, max_tokens, thinking, soft_tokens, temperature,
/// top_k, top_p and seed, in that order.
std::vector<ParamSpec> generation_params(const PromptDefaults& defaults);

/// The resolved values of those rows. Immutable.
class Generation {
 public:
  /// Throws ParamError: a prompt and a prompt file, an unreadable file, a budget of soft
  /// tokens that the model does not know.
  Generation(const Params& params, const StageContext& context, const PromptDefaults& defaults);

  /// Text of the prompt template as written (from `prompt` or `prompt_file`) and the
  /// parameter that it came from, for messages.
  const std::string& prompt_text() const { return prompt_text_; }
  const std::string& prompt_param() const { return prompt_param_; }

  /// The pictures of `item`, then `text`. With a temperature above 0 the seed is made of the
  /// stage's seed, the input's sha256, the unit's producer and index and `name` (which tells
  /// apart several requests on one unit): it does not depend on the order of the work.
  /// Throws ItemError ("language.no_pictures") for an item without pictures.
  engine::Request request(const Item& item, std::string text, std::string_view name) const;

  /// {"text", "finish_reason"}, and "thinking" where it was asked for.
  Json answer_json(const engine::Answer& answer) const;

  bool thinking() const { return thinking_; }

 private:
  std::string prompt_text_;
  std::string prompt_param_;
  std::string system_;
  int max_tokens_;
  bool thinking_;
  std::optional<int> soft_tokens_;
  engine::SamplingOptions sampling_;
};

/// Reads a whole text file named by the parameter `param`, relative to the graph's folder.
/// Throws ParamError if it cannot be read, is larger than 1 MiB or is not UTF-8.
std::string read_text_param(const Params& params, const StageContext& context, const std::string& param);

}  // namespace reelfolio::stages
