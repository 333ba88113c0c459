#include "engine/generation.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "engine/error.h"
#include "engine/stopwatch.h"
#include "engine/utf8.h"

namespace reelfolio::engine {

namespace {

/// Constraints whose masks are kept. A graph has one for each stage.
constexpr std::size_t kMaxGrammars = 32;

void expect_range(const char* name, float value, bool is_within, const char* expected) {
  if (is_within && std::isfinite(value)) return;
  throw RequestError(std::string(name) + " is " + std::to_string(value) + ", expected " + expected);
}

}  // namespace

constraint::GrammarState Grammars::state(const std::shared_ptr<const Constraint>& constraint) {
  const std::lock_guard lock(mutex_);
  auto at = std::find_if(known_.begin(), known_.end(),
                         [&](const Known& each) { return each.constraint == constraint; });
  if (at == known_.end()) {
    if (strings_ == nullptr) {
      strings_ = std::make_shared<constraint::StringMasks>(
          std::make_shared<const constraint::TokenTrie>(tokenizer_));
    }
    const std::shared_ptr<const constraint::Automaton> automaton(constraint, &constraint->automaton());
    known_.push_front({constraint, std::make_shared<constraint::TokenMasks>(automaton, strings_)});
    if (known_.size() > kMaxGrammars) known_.pop_back();
    at = known_.begin();
  } else {
    known_.splice(known_.begin(), known_, at);
  }
  return {constraint, at->masks, tokenizer_};
}

void check_generation(const Request& request, const GenerationModel& model, std::size_t positions_left) {
  if (request.max_tokens < 1) {
    throw RequestError("max_tokens is " + std::to_string(request.max_tokens) + ", expected 1 or more");
  }
  const SamplingOptions& sampling = request.sampling;
  expect_range("temperature", sampling.temperature, sampling.temperature >= 0.0F, "0 or more");
  if (sampling.top_k < 0) {
    throw RequestError("top_k is " + std::to_string(sampling.top_k) + ", expected 0 or more");
  }
  expect_range("top_p", sampling.top_p, sampling.top_p > 0.0F && sampling.top_p <= 1.0F,
               "above 0 and at most 1");
  expect_range("min_p", sampling.min_p, sampling.min_p >= 0.0F && sampling.min_p <= 1.0F, "0 to 1");
  expect_range("repetition_penalty", sampling.repetition_penalty, sampling.repetition_penalty > 0.0F,
               "above 0");
  if (request.thinking_budget && *request.thinking_budget < 0) {
    throw RequestError("thinking_budget is " + std::to_string(*request.thinking_budget) +
                       ", expected 0 or more");
  }
  for (const std::string& text : request.stop) {
    if (text.empty()) throw RequestError("a stop string is empty");
    if (!is_valid_utf8(text)) throw RequestError("a stop string is not UTF-8");
  }
  if (!request.constraint) return;
  if (!request.stop.empty()) throw RequestError("stop strings and a constraint exclude each other");
  // A thought that the model opens is closed by a token, too.
  const std::size_t overhead = request.thinking ? 2 : 0;
  const std::size_t room = std::min(static_cast<std::size_t>(request.max_tokens), positions_left);
  const constraint::GrammarState state = model.grammars.state(request.constraint);
  if (room >= overhead && state.can_complete(room - overhead)) return;
  const std::size_t least = state.completion().size() + overhead;
  const bool is_full = positions_left < static_cast<std::size_t>(request.max_tokens);
  throw RequestError((is_full
                          ? "the prompt leaves " + std::to_string(positions_left) + " tokens for the answer"
                          : "max_tokens is " + std::to_string(request.max_tokens)) +
                     ", the shortest answer that the constraint admits takes " + std::to_string(least));
}

Generation::Generation(const GenerationModel& model, const Request& request,
                       std::function<void(std::string_view)> on_text)
    : model_(model),
      request_(&request),
      sampler_(request.sampling, model.config.generation.suppress_tokens),
      builder_(model.tokenizer, model.channel, std::move(on_text), request.stop) {
  if (request.constraint) grammar_.emplace(model.grammars.state(request.constraint));
  const bool has_channel = model.channel.begin && model.channel.end;
  if (request.thinking && has_channel) phase_ = Phase::opening;
}

Generation::Generation(Generation&&) noexcept = default;
Generation::~Generation() = default;

bool Generation::is_stop(TokenId id) const {
  const auto& stops = model_.config.generation.eos_token_ids;
  return std::binary_search(stops.begin(), stops.end(), id);
}

std::size_t Generation::tokens_left(std::size_t positions_left) const {
  return std::min(static_cast<std::size_t>(request_->max_tokens - generated_), positions_left);
}

void Generation::push(TokenId id, std::optional<float> log_probability) {
  ++generated_;
  builder_.push(id, log_probability);
  next_.push_back(id);
  loops_ = repetition_.push(id) || loops_;
  const auto at = std::lower_bound(seen_.begin(), seen_.end(), id);
  if (at == seen_.end() || *at != id) seen_.insert(at, id);
}

void Generation::push_forced(TokenId id) {
  ++forced_;
  push(id, std::nullopt);
}

std::optional<FinishReason> Generation::advance(std::span<float> logits, std::size_t positions_left) {
  next_.clear();
  const std::size_t room = tokens_left(positions_left);
  const bool out_of_positions = positions_left < static_cast<std::size_t>(request_->max_tokens - generated_);
  const int before = generated_;
  std::optional<FinishReason> reason = take(logits, room);
  if (reason) return reason;
  const std::size_t left = room - static_cast<std::size_t>(generated_ - before);
  if (builder_.stopped()) return FinishReason::stop;
  if (grammar_ && phase_ == Phase::answer && grammar_->must_end()) return FinishReason::stop;
  if (loops_) return complete_by_force(FinishReason::repetition);
  if (left == 0) return out_of_positions ? FinishReason::context : FinishReason::length;
  return std::nullopt;
}

/// Takes a token or, where they are forced, several.
std::optional<FinishReason> Generation::take(std::span<float> logits, std::size_t left) {
  if (grammar_ && phase_ == Phase::answer && generated_ == 0) {
    for (const TokenId id : grammar_->jump(left)) push_forced(id);
    if (!next_.empty()) return std::nullopt;
  }
  if (phase_ == Phase::thought && must_close_thought(left)) {
    close_thought(left);
    return std::nullopt;
  }
  const std::vector<float> plain =
      request_->log_probabilities ? std::vector<float>(logits.begin(), logits.end()) : std::vector<float>();
  if (request_->sampling.repetition_penalty != 1.0F) {
    sampling::penalise(logits, seen_, request_->sampling.repetition_penalty);
  }
  const bool is_masked = grammar_ && phase_ != Phase::thought;
  const TokenId id = is_masked ? choose_masked(logits, left) : sampler_.choose(logits);
  std::optional<float> probability;
  if (request_->log_probabilities) probability = static_cast<float>(sampling::log_probability(plain, id));

  if (is_stop(id)) {
    if (!grammar_ || phase_ != Phase::thought) return FinishReason::stop;
    // A turn that ends within a thought still owes the answer.
    close_thought(left);
    return std::nullopt;
  }
  if (model_.channel.begin && id == *model_.channel.begin && phase_ != Phase::thought) {
    phase_ = Phase::thought;
    push(id, probability);
    return std::nullopt;
  }
  if (phase_ == Phase::thought) {
    ++thought_tokens_;
    if (model_.channel.end && id == *model_.channel.end) {
      push(id, probability);
      begin_answer(left - 1);
      return std::nullopt;
    }
    push(id, probability);
    return std::nullopt;
  }
  phase_ = Phase::answer;
  if (!grammar_) {
    push(id, probability);
    return std::nullopt;
  }
  // A token that leads too far from an end is not taken.
  if (!grammar_->can_complete(id, left - 1) || !grammar_->accept(id))
    return complete_by_force(FinishReason::length);
  const std::vector<TokenId> ids = grammar_->jump(left - 1);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (i == 0) {
      push(ids[i], probability);
    } else {
      push_forced(ids[i]);
    }
  }
  return std::nullopt;
}

TokenId Generation::choose_masked(std::span<float> logits, std::size_t left) {
  const auto start = Clock::now();
  const std::shared_ptr<const constraint::TokenMask> mask = grammar_->mask();
  counts_.mask_s += std::chrono::duration<double>(Clock::now() - start).count();
  ++counts_.masked_tokens;
  std::vector<TokenId> also;
  if (grammar_->may_end()) also = model_.config.generation.eos_token_ids;
  if (phase_ == Phase::opening && left >= 2 && grammar_->can_complete(left - 2))
    also.push_back(*model_.channel.begin);
  return sampler_.choose(logits, {mask->words, also});
}

/// Whether another token of thought would be one too many.
bool Generation::must_close_thought(std::size_t left) const {
  if (request_->thinking_budget && thought_tokens_ >= *request_->thinking_budget)
    return model_.channel.end.has_value();
  return grammar_ && (left < 2 || !grammar_->can_complete(left - 2));
}

void Generation::close_thought(std::size_t left) {
  push_forced(*model_.channel.end);
  begin_answer(left - 1);
}

/// Behind the token that closes the thought.
void Generation::begin_answer(std::size_t left) {
  phase_ = Phase::answer;
  if (!grammar_) return;
  for (const TokenId id : grammar_->jump(left)) push_forced(id);
}

FinishReason Generation::complete_by_force(FinishReason reason) {
  if (!grammar_) return reason;
  if (phase_ == Phase::thought) push_forced(*model_.channel.end);
  for (const TokenId id : grammar_->completion()) push_forced(id);
  return reason;
}

void Generation::finish(Answer& answer) {
  builder_.finish(answer);
  answer.generated_tokens = generated_;
  answer.forced_tokens = forced_;
  if (!request_->log_probabilities) answer.tokens.clear();
}

}  // namespace reelfolio::engine
