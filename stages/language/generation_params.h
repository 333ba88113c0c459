#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stages/language/examples.h"
#include "stages/language/prompt_template.h"
#include "stages/stage.h"

/// What caption, ask and extract have in common: the parameters that shape a request,
/// and the way from an item to a request and from an answer to JSON.
namespace reelfolio::stages {

struct PromptDefaults {
  std::string_view prompt;
  std::string_view prompt_help;
  std::int64_t max_tokens;
  bool reads_documents = false;  ///< texts and pages: adds the row `page`
  bool takes_stop = true;        ///< adds the row `stop`
  bool takes_votes = false;      ///< adds the rows `samples` and `confidence`
};

/// The rows prompt, prompt_file, system, system_file, examples, page, max_tokens, thinking,
/// thinking_tokens, keep_thinking, soft_tokens, temperature, top_k, top_p, min_p,
/// repetition_penalty, seed, samples, confidence and stop, in that order.
std::vector<ParamSpec> generation_params(const PromptDefaults& defaults);

/// Whether a page's text layer says what the page shows: some twenty characters at least, most of
/// them letters and digits, hardly any without a meaning (fonts with a broken encoding).
bool is_good_text_layer(std::string_view text);

/// The row `mode` of the stages that frames can be shown to as a video.
ParamSpec mode_param();

/// The resolved values of those rows, and of `mode` where the stage has it. Immutable.
class Generation {
 public:
  /// Throws ParamError: a prompt and a prompt file, an unreadable file, a budget of soft
  /// tokens that the model does not know, a budget of thoughts without room for an answer,
  /// samples without a temperature.
  Generation(const Params& params, const StageContext& context, const PromptDefaults& defaults);

  /// Text of the prompt template as written (from `prompt` or `prompt_file`) and the
  /// parameter that it came from, for messages.
  const std::string& prompt_text() const { return prompt_text_; }
  const std::string& prompt_param() const { return prompt_param_; }

  /// One request for each sample: the system prompt, the examples, then the pictures of `item` or
  /// its text (`page` decides for pages), its sound, and `prompt`. With a temperature above 0 the seed is
  /// made of the stage's seed, the input's sha256, the unit's producer and index, `name` (which tells apart
  /// several requests on one unit) and the sample: it does not depend on the order of the work.
  ///
  /// shows_text  the prompt holds the unit's text already; it is not put in front
  ///
  /// Throws ItemError ("language.no_pictures") for an item with nothing to see, hear or read.
  std::vector<engine::Request> requests(const Item& item, const std::string& prompt, std::string_view name,
                                        bool shows_text) const;
  /// Whether there is nothing to ask about, without that being an error: a clip of an input that has
  /// no sound track.
  static bool is_mute(const Item& item);
  /// The answer then: {"text": "", "no_audio": true, "finish_reason": "stop"}.
  static Json mute_answer();

  /// One request of `parts` and then `text`, without examples: seeded as above.
  engine::Request request(const Item& item, std::vector<engine::Part> parts, std::string text,
                          std::string_view name) const;

  /// {"text", "finish_reason"}, and "thinking" where it was asked for. Of several samples the
  /// answer that most of them give, with "votes": [{"text", "count"}]. "confidence" where asked for.
  Json answer_json(std::span<const engine::Answer> samples) const;
  /// Puts "thinking" into `json` where it is to be kept.
  void add_thinking(Json& json, const engine::Answer& answer) const;

  int samples() const { return samples_; }
  int max_tokens() const { return max_tokens_; }
  bool confidence() const { return confidence_; }
  /// LanguageStage::fingerprint.
  const std::string& fingerprint() const { return examples_.picture_hash(); }

 private:
  std::vector<engine::Part> seen_and_heard(const Item& item, bool shows_pictures) const;

  std::string prompt_text_;
  std::string prompt_param_;
  std::string system_;
  Examples examples_;
  std::string page_ = "image";
  int max_tokens_;
  bool thinking_;
  std::optional<int> thinking_tokens_;
  bool keep_thinking_;
  std::optional<int> soft_tokens_;
  bool as_video_;
  engine::SamplingOptions sampling_;
  int samples_ = 1;
  bool confidence_ = false;
  std::vector<std::string> stop_;
};

/// Reads a whole text file named by the parameter `param`, relative to the graph's folder.
/// Throws ParamError if it cannot be read, is larger than 1 MiB or is not UTF-8.
std::string read_text_param(const Params& params, const StageContext& context, const std::string& param);

}  // namespace reelfolio::stages
