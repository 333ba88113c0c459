#pragma once

#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/answer_builder.h"
#include "engine/config.h"
#include "engine/constraint/grammar_state.h"
#include "engine/engine.h"
#include "engine/sampling/repetition.h"
#include "engine/sampling/sampler.h"
#include "engine/tokenizer.h"

namespace reelfolio::engine {

/// Makes the grammar states of answers; keeps the masks of the constraints that were used last.
/// Any thread.
class Grammars {
 public:
  /// `tokenizer` is borrowed. What states need of its tokens is made for the first constraint: a fraction of
  /// a second and 26 MB with 262,144 pieces, which nobody pays who has no constraints.
  explicit Grammars(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  constraint::GrammarState state(const std::shared_ptr<const Constraint>& constraint);

 private:
  const Tokenizer& tokenizer_;
  std::mutex mutex_;
  std::shared_ptr<constraint::StringMasks> strings_;  ///< null until the first constraint
  struct Known {
    std::shared_ptr<const Constraint> constraint;
    std::shared_ptr<constraint::TokenMasks> masks;
  };
  std::list<Known> known_;  ///< the last used first
};

/// What the choice of tokens needs of a loaded model; borrowed.
struct GenerationModel {
  const Tokenizer& tokenizer;
  const ModelConfig& config;
  const ChannelTokens& channel;
  Grammars& grammars;
};

/// Throws RequestError where an option has no meaning, or the answer cannot be completed within
/// max_tokens and the `positions_left` that the prompt leaves.
void check_generation(const Request& request, const GenerationModel& model, std::size_t positions_left);

/// Work on masks for one answer.
struct MaskCounts {
  std::uint64_t masked_tokens = 0;
  double mask_s = 0;
};

/// One answer being generated: which token follows, and what the tokens so far say. Its choices
/// depend on the request and on the logits alone. One thread at a time.
class Generation {
 public:
  /// `request` is borrowed. `on_text` receives visible text as it becomes certain.
  Generation(const GenerationModel& model, const Request& request,
             std::function<void(std::string_view)> on_text);
  Generation(Generation&&) noexcept;
  ~Generation();

  /// From the logits behind the last token (changed in place): what ends the answer, or nothing; then
  /// next() holds the tokens that the model is to read, at least one.
  /// positions_left: tokens that the context has room for.
  std::optional<FinishReason> advance(std::span<float> logits, std::size_t positions_left);
  std::span<const TokenId> next() const { return next_; }

  /// Fills what the answer says; nothing about the prompt.
  void finish(Answer& answer);
  const MaskCounts& counts() const { return counts_; }

 private:
  enum class Phase { opening, thought, answer };

  std::size_t tokens_left(std::size_t positions_left) const;
  bool is_stop(TokenId id) const;
  void push(TokenId id, std::optional<float> log_probability);
  void push_forced(TokenId id);
  std::optional<FinishReason> take(std::span<float> logits, std::size_t left);
  TokenId choose_masked(std::span<float> logits, std::size_t left);
  bool must_close_thought(std::size_t left) const;
  void close_thought(std::size_t left);
  void begin_answer(std::size_t left);
  FinishReason complete_by_force(FinishReason reason);

  GenerationModel model_;
  const Request* request_;
  sampling::Sampler sampler_;
  sampling::RepetitionDetector repetition_;
  AnswerBuilder builder_;
  std::optional<constraint::GrammarState> grammar_;
  Phase phase_ = Phase::answer;
  bool loops_ = false;
  int thought_tokens_ = 0;
  int generated_ = 0;
  int forced_ = 0;
  std::vector<TokenId> next_;
  std::vector<TokenId> seen_;  ///< sorted; for the repetition penalty
  MaskCounts counts_;
};

}  // namespace reelfolio::engine
