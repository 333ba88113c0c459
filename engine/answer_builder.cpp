#include "engine/answer_builder.h"

#include <utility>

namespace reelfolio::engine {

namespace {

constexpr std::string_view kSpace = " \t\n\r\f\v";
/// A thought channel begins with its name on a line of its own.
constexpr std::string_view kThoughtHeader = "thought\n";

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

}  // namespace

AnswerBuilder::AnswerBuilder(const Tokenizer& tokenizer, const ChannelTokens& channel,
                             std::function<void(std::string_view)> on_text)
    : channel_(channel), on_text_(std::move(on_text)), visible_(tokenizer, true), hidden_(tokenizer, true) {}

void AnswerBuilder::push(TokenId id) {
  if (channel_.begin && id == *channel_.begin) {
    if (!in_thought_) show(visible_.finish());
    in_thought_ = true;
    if (!thinking_) thinking_.emplace();
  } else if (channel_.end && id == *channel_.end) {
    if (in_thought_) *thinking_ += hidden_.finish();
    in_thought_ = false;
  } else if (in_thought_) {
    *thinking_ += hidden_.push(id);
  } else {
    show(visible_.push(id));
  }
}

void AnswerBuilder::show(std::string_view piece) {
  if (piece.empty()) return;
  const std::size_t last = piece.find_last_not_of(kSpace);
  if (last == piece.npos) {
    space_ += piece;
    return;
  }
  std::string certain;
  if (text_.empty()) {
    piece.remove_prefix(piece.find_first_not_of(kSpace));
  } else {
    certain = space_;
  }
  const std::size_t end = piece.find_last_not_of(kSpace) + 1;
  certain += piece.substr(0, end);
  space_ = piece.substr(end);
  text_ += certain;
  if (on_text_) on_text_(certain);
}

void AnswerBuilder::finish(Answer& answer) {
  if (in_thought_) *thinking_ += hidden_.finish();
  show(visible_.finish());
  answer.text = text_;
  if (!thinking_) return;
  std::string_view thought = *thinking_;
  if (thought.substr(0, kThoughtHeader.size()) == kThoughtHeader)
    thought.remove_prefix(kThoughtHeader.size());
  answer.thinking = std::string(trimmed(thought));
}

}  // namespace reelfolio::engine
