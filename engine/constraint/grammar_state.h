#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/constraint/constraint.h"
#include "engine/constraint/token_masks.h"
#include "engine/token_id.h"
#include "engine/tokenizer.h"

namespace reelfolio::engine::constraint {

/// Where one answer stands in its constraint, in tokens. One thread at a time.
class GrammarState {
 public:
  /// `tokenizer` is borrowed; `masks` belong to `constraint` and the tokenizer's vocabulary.
  GrammarState(std::shared_ptr<const Constraint> constraint, std::shared_ptr<TokenMasks> masks,
               const Tokenizer& tokenizer);

  /// The tokens that may come next.
  std::shared_ptr<const TokenMask> mask() { return masks_->mask(position_); }
  /// Whether the answer may end here, and whether nothing else is left.
  bool may_end() const { return automaton().may_end(position_); }
  bool must_end() const { return automaton().must_end(position_); }

  /// Takes a token of the mask. False (and unchanged) where it is none.
  bool accept(TokenId id);

  /// The bytes that must follow are appended as the tokenizer splits them, together with the last
  /// accepted token, which the model has not read yet: that one may be replaced by a longer one.
  /// Returns what the model is to read in place of that last token; it alone where nothing is
  /// appended. Where a token might begin that reaches beyond the forced bytes, the rest of them is left
  /// to the model, which splits text as it has learnt to: an answer that it would have given without the
  /// constraint it gives in the same tokens.
  /// `left`: tokens that the answer may still have behind the last accepted one.
  std::vector<TokenId> jump(std::size_t left);

  /// Tokens that complete the answer from here; none where it is complete.
  std::vector<TokenId> completion() const;
  /// Whether the answer could be completed with `tokens` tokens, once `id` is taken.
  bool can_complete(TokenId id, std::size_t tokens) const;
  /// The same from here.
  bool can_complete(std::size_t tokens) const;

 private:
  const Automaton& automaton() const { return constraint_->automaton(); }
  bool can_complete(const Position& position, std::size_t tokens) const;
  std::vector<TokenId> tokens_of(const std::string& text) const;
  std::string text_of(std::span<const TokenId> ids) const;
  /// Whether a longer token begins with `text`, and may go on so at `behind`, where `text` ends.
  bool can_grow(std::string_view text, const Position& behind) const;
  /// Where in `forced`, which ends at `end`, the first such token begins; its size if none does.
  std::size_t first_open(std::string_view forced, const Position& end) const;

  std::shared_ptr<const Constraint> constraint_;
  std::shared_ptr<TokenMasks> masks_;
  const Tokenizer* tokenizer_;
  Position position_;
  std::vector<TokenId> recent_;  ///< the last few tokens, for how the text splits
  bool fresh_ = false;           ///< the last token has not been read by the model
};

}  // namespace reelfolio::engine::constraint
