#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

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
/// space at the start, white space only once something follows it, and what a stop string might
/// begin with only once it does not, so that the pieces add up to Answer::text. One thread at a
/// time; borrows the tokenizer.
class AnswerBuilder {
 public:
  /// stops: the visible text ends in front of the first of these (none is empty).
  AnswerBuilder(const Tokenizer& tokenizer, const ChannelTokens& channel,
                std::function<void(std::string_view)> on_text, std::vector<std::string> stops = {});

  void push(TokenId id, std::optional<float> log_probability = std::nullopt);
  /// Whether a stop string has come; what is pushed from then on is ignored.
  bool stopped() const { return stopped_at_.has_value(); }
  /// Fills `text`, `thinking`, `stopped_at` and `tokens`.
  void finish(Answer& answer);

 private:
  void show(std::string_view piece);
  void pass_on(std::size_t bytes);
  /// Bytes at the front of held_ that are text whatever follows.
  std::size_t certain_bytes() const;

  ChannelTokens channel_;
  std::function<void(std::string_view)> on_text_;
  Detokenizer visible_;
  Detokenizer hidden_;
  bool in_thought_ = false;
  std::vector<std::string> stops_;
  std::optional<std::string> stopped_at_;
  std::string text_;
  std::string held_;                 ///< visible, but not certain to stay
  std::size_t shown_bytes_ = 0;      ///< visible so far, white space at the start included
  std::size_t leading_bytes_ = 0;    ///< of white space at the start
  std::vector<AnswerToken> tokens_;  ///< places count from the white space at the start
  std::optional<std::string> thinking_;
};

}  // namespace reelfolio::engine
