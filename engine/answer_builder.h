#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "engine/engine.h"
#include "engine/tokenizer.h"

namespace reelfolio::engine {

/// Ids of the tokens that open and close a thought, where the tokenizer has them.
struct ChannelTokens {
  std::optional<TokenId> begin;
  std::optional<TokenId> end;
};

/// Turns a sequence's generated tokens into visible text and thought.
///
/// Visible text is passed on as soon as it is certain: whole characters, without white
/// space at the start, and white space only once something follows it, so that the
/// pieces add up to Answer::text. One thread at a time; borrows the tokenizer.
class AnswerBuilder {
 public:
  AnswerBuilder(const Tokenizer& tokenizer, const ChannelTokens& channel,
                std::function<void(std::string_view)> on_text);

  void push(TokenId id);
  /// Fills `text` and `thinking`.
  void finish(Answer& answer);

 private:
  void show(std::string_view piece);

  ChannelTokens channel_;
  std::function<void(std::string_view)> on_text_;
  Detokenizer visible_;
  Detokenizer hidden_;
  bool in_thought_ = false;
  std::string text_;
  std::string space_;  ///< white space held back
  std::optional<std::string> thinking_;
};

}  // namespace reelfolio::engine
