#include "engine/answer_builder.h"

#include <algorithm>
#include <utility>

namespace reelfolio::engine {

namespace {

constexpr std::string_view kWhitespace = " \t\n\r\f\v";
/// A thought channel begins with its name on a line of its own.
constexpr std::string_view kThoughtHeader = "thought\n";

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kWhitespace);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kWhitespace) - first + 1);
}

}  // namespace

AnswerBuilder::AnswerBuilder(const Tokenizer& tokenizer, const ChannelTokens& channel,
                             std::function<void(std::string_view)> on_text, std::vector<std::string> stops)
    : channel_(channel),
      on_text_(std::move(on_text)),
      visible_(tokenizer, true),
      hidden_(tokenizer, true),
      stops_(std::move(stops)) {}

void AnswerBuilder::push(TokenId id, std::optional<float> log_probability) {
  if (stopped()) return;
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
    const std::size_t begin = shown_bytes_;
    show(visible_.push(id));
    tokens_.push_back({begin, shown_bytes_, log_probability});
  }
}

void AnswerBuilder::show(std::string_view piece) {
  shown_bytes_ += piece.size();
  if (text_.empty() && held_.empty()) {
    const std::size_t first = piece.find_first_not_of(kWhitespace);
    const std::size_t leading = first == piece.npos ? piece.size() : first;
    leading_bytes_ += leading;
    piece.remove_prefix(leading);
  }
  if (piece.empty()) return;
  held_ += piece;
  std::size_t stop_at = held_.npos;
  for (const std::string& stop : stops_) {
    const std::size_t found = held_.find(stop);
    if (found >= stop_at) continue;
    stop_at = found;
    stopped_at_ = stop;
  }
  if (stopped_at_) {
    held_.resize(stop_at);
    return;
  }
  pass_on(certain_bytes());
}

std::size_t AnswerBuilder::certain_bytes() const {
  std::size_t end = held_.size();
  for (const std::string& stop : stops_) {
    // The longest end of the text that this stop string begins with.
    for (std::size_t size = std::min(stop.size() - 1, held_.size()); size > 0; --size) {
      if (held_.compare(held_.size() - size, size, stop, 0, size) != 0) continue;
      end = std::min(end, held_.size() - size);
      break;
    }
  }
  const std::size_t last = std::string_view(held_).substr(0, end).find_last_not_of(kWhitespace);
  return last == held_.npos ? 0 : last + 1;
}

void AnswerBuilder::pass_on(std::size_t bytes) {
  if (bytes == 0) return;
  const std::string certain = held_.substr(0, bytes);
  held_.erase(0, bytes);
  text_ += certain;
  if (on_text_) on_text_(certain);
}

void AnswerBuilder::finish(Answer& answer) {
  if (in_thought_) *thinking_ += hidden_.finish();
  if (!stopped()) show(visible_.finish());
  held_ = trimmed(held_).empty() ? std::string() : held_.substr(0, held_.find_last_not_of(kWhitespace) + 1);
  pass_on(held_.size());
  answer.text = text_;
  answer.stopped_at = stopped_at_;
  answer.tokens = std::move(tokens_);
  for (AnswerToken& token : answer.tokens) {
    const auto place = [&](std::size_t shown) {
      return std::min(shown - std::min(shown, leading_bytes_), text_.size());
    };
    token.begin = place(token.begin);
    token.end = place(token.end);
  }
  if (!thinking_) return;
  std::string_view thought = *thinking_;
  if (thought.substr(0, kThoughtHeader.size()) == kThoughtHeader)
    thought.remove_prefix(kThoughtHeader.size());
  answer.thinking = std::string(trimmed(thought));
}

}  // namespace reelfolio::engine
