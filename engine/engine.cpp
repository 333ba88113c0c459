#include "engine/engine.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <mutex>
#include <utility>

#include "engine/answer_builder.h"
#include "engine/config.h"
#include "engine/fingerprint.h"
#include "engine/packed_model.h"
#include "engine/prefix_tree.h"
#include "engine/safetensors.h"
#include "engine/sampling/repetition.h"
#include "engine/sampling/sampler.h"
#include "engine/soft_token_cache.h"
#include "engine/text/decoder.h"
#include "engine/tokenizer.h"
#include "engine/towers.h"

namespace reelfolio::engine {

std::string_view finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::context:
      return "context";
    case FinishReason::repetition:
      return "repetition";
    case FinishReason::cancelled:
      return "cancelled";
  }
  return "";
}

namespace {

/// Rows of one forward pass at most: as many as a matmul takes at full speed.
constexpr std::size_t kRowsPerPass = 512;
/// Sequences that hold a cache for their own tokens at once. Decoding more together
/// gains little: a step's time then grows with their number.
constexpr std::size_t kMaxSequences = 16;
/// Shared stretches below this are cheaper to repeat than to run in a pass of their own.
constexpr std::size_t kMinSharedTokens = 32;
/// Soft tokens remembered from call to call, of hidden_size floats each: eight of the largest pictures,
/// or a video of 32 frames with its sound and more.
constexpr std::size_t kRememberedRows = 8 * 1120;

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Thrown between layers when the caller has asked to stop.
struct Stopped {};

/// A picture or sound, as one call knows it.
struct Source {
  SoftTokenSource source;
  int soft_tokens = 0;
  SoftTokenCache::Tokens rows;
  std::size_t uses = 0;  ///< stretches that still read rows
};

/// A request's prompt. `keys` tells positions apart across the requests of the call: a token id,
/// or source and row of a soft token.
struct Prompt {
  std::vector<TokenId> ids;
  std::vector<std::uint64_t> keys;
};

constexpr std::uint64_t kSoftBit = std::uint64_t{1} << 63;

std::uint64_t soft_key(std::size_t source, std::size_t row) {
  return kSoftBit | (std::uint64_t{source} << 32) | row;
}
std::size_t key_source(std::uint64_t key) {
  return static_cast<std::size_t>((key & ~kSoftBit) >> 32);
}
std::size_t key_row(std::uint64_t key) {
  return static_cast<std::size_t>(key & 0xFFFFFFFFU);
}

/// A stretch of a prompt that is being prefilled.
struct Stretch {
  std::size_t node = 0;
  text::KvCache cache;
  std::size_t done = 0;  ///< positions of the prompt in the cache
};

/// A sequence that generates.
struct Sequence {
  std::size_t request = 0;
  text::KvCache cache;
  TokenId next = 0;  ///< chosen, not yet in the cache
  sampling::Sampler sampler;
  sampling::RepetitionDetector repetition;
  AnswerBuilder builder;
  int generated = 0;
};

void check_sampling(const SamplingOptions& sampling) {
  if (!(sampling.temperature >= 0.0F) || std::isinf(sampling.temperature)) {
    throw RequestError("temperature is " + std::to_string(sampling.temperature) + ", expected 0 or more");
  }
  if (sampling.top_k < 0) {
    throw RequestError("top_k is " + std::to_string(sampling.top_k) + ", expected 0 or more");
  }
  if (!(sampling.top_p > 0.0F && sampling.top_p <= 1.0F)) {
    throw RequestError("top_p is " + std::to_string(sampling.top_p) + ", expected above 0 and at most 1");
  }
}

class LoadedEngine final : public Engine {
 public:
  LoadedEngine(const std::filesystem::path& dir, const EngineOptions& options)
      : threads_(options.threads > 0 ? options.threads : omp_get_num_procs()),
        config_(load_model_config(dir)),
        tokenizer_(Tokenizer::load(dir)),
        checkpoint_(Checkpoint::open(dir)),
        weights_(packed_weights(checkpoint_).value_or(options.weights)),
        fingerprint_(model_fingerprint(dir, checkpoint_)),
        decoder_(make_decoder()),
        towers_(config_, checkpoint_, weights_),
        known_sources_(kRememberedRows) {
    if (tokenizer_.vocab_size() > config_.text.vocab_size) {
      throw ModelError("tokenizer.json: has " + std::to_string(tokenizer_.vocab_size()) +
                       " tokens, expected at most the model's " + std::to_string(config_.text.vocab_size));
    }
    channel_.begin = tokenizer_.id(control::kChannelBegin);
    channel_.end = tokenizer_.id(control::kChannelEnd);
  }

  std::vector<Answer> answer(
      std::span<const Request> requests, std::stop_token stop,
      const std::function<void(std::size_t request, std::string_view text)>& on_text) override;

  const ModelConfig& config() const override { return config_; }
  const Tokenizer& tokenizer() const override { return tokenizer_; }
  const std::string& fingerprint() const override { return fingerprint_; }
  ops::WeightType weights() const override { return weights_; }
  EngineStats stats() const override {
    const std::lock_guard lock(stats_mutex_);
    return stats_;
  }

 private:
  friend class Call;

  text::TextDecoder make_decoder() {
    ops::set_num_threads(threads_);
    verify_packed_model(checkpoint_, config_);
    return {config_, checkpoint_, weights_};
  }
  template <class F>
  void count(F f) {
    const std::lock_guard lock(stats_mutex_);
    f(stats_);
  }

  const int threads_;
  const ModelConfig config_;
  const Tokenizer tokenizer_;
  const Checkpoint checkpoint_;
  const ops::WeightType weights_;
  const std::string fingerprint_;
  text::TextDecoder decoder_;
  Towers towers_;
  ChannelTokens channel_;
  SoftTokenCache known_sources_;
  mutable std::mutex stats_mutex_;
  EngineStats stats_;
};

/// One call of `answer`: first the prompts, then passes until every sequence has ended.
class Call {
 public:
  Call(LoadedEngine& engine, std::span<const Request> requests, std::stop_token stop,
       const std::function<void(std::size_t, std::string_view)>& on_text)
      : engine_(engine), requests_(requests), stop_(std::move(stop)), on_text_(on_text) {
    // Everything that can be refused is refused here.
    for (std::size_t i = 0; i < requests.size(); ++i) prompts_.push_back(make_prompt(requests[i]));
    answers_.resize(requests.size());
    for (std::size_t i = 0; i < requests.size(); ++i) {
      answers_[i].prompt_tokens = static_cast<int>(prompts_[i].ids.size());
    }
  }

  std::vector<Answer> run();

 private:
  Prompt make_prompt(const Request& request);
  /// Index into sources_. Throws RequestError for what the model cannot take.
  std::size_t source_index(const SoftTokenSource& source);
  std::vector<std::size_t> source_indices(const Request& request);
  void make_tree();
  void pass();
  void check_stop() const {
    if (stop_.stop_requested()) throw Stopped{};
  }
  void finish_stretch(Stretch stretch, std::span<float> logits);
  /// Chooses the sequence's next token; true if that ends it.
  bool advance(Sequence& sequence, std::span<float> logits);
  void end(Sequence& sequence, FinishReason reason);
  void cancel();
  void input_row(const Prompt& prompt, std::size_t position, Vector row);
  void need_source(std::size_t index);
  /// f(source) for each source of which the stretch holds soft tokens.
  template <class F>
  void each_source(const PrefixNode& node, F f);

  LoadedEngine& engine_;
  std::span<const Request> requests_;
  std::stop_token stop_;
  const std::function<void(std::size_t, std::string_view)>& on_text_;

  std::vector<Source> sources_;
  std::vector<Prompt> prompts_;
  std::vector<PrefixNode> nodes_;
  std::vector<std::vector<std::size_t>> children_;
  std::vector<Stretch> ready_;  ///< last one first: finish a branch before opening another
  std::size_t leaves_open_ = 0;
  std::deque<Sequence> sequences_;
  std::vector<Answer> answers_;
  std::vector<bool> ended_;
  MatrixBuffer inputs_, logits_;
};

std::size_t Call::source_index(const SoftTokenSource& source) {
  const auto found = std::find_if(sources_.begin(), sources_.end(),
                                  [&](const Source& known) { return known.source == source; });
  if (found != sources_.end()) return static_cast<std::size_t>(found - sources_.begin());
  sources_.push_back({source, engine_.towers_.soft_tokens(source), nullptr});
  return sources_.size() - 1;
}

/// In the order of their placeholders.
std::vector<std::size_t> Call::source_indices(const Request& request) {
  using Kind = SoftTokenSource::Kind;
  std::vector<std::size_t> indices;
  const auto add = [&](const SoftTokenSource& source) { indices.push_back(source_index(source)); };
  for (const Message& message : request.messages) {
    for (const Part& part : message.parts) {
      if (const auto* image = std::get_if<ImagePart>(&part)) {
        add(SoftTokenSource::picture(image->image, image->soft_tokens, Kind::image));
      } else if (const auto* audio = std::get_if<AudioPart>(&part)) {
        add(SoftTokenSource::sound(audio->clip));
      } else if (const auto* video = std::get_if<VideoPart>(&part)) {
        for (const VideoFrame& frame : video->frames) {
          add(SoftTokenSource::picture(frame.image, video->soft_tokens, Kind::video_frame));
        }
      }
    }
  }
  return indices;
}

Prompt Call::make_prompt(const Request& request) {
  if (request.messages.empty()) throw RequestError("the request has no messages");
  if (request.max_tokens < 1) {
    throw RequestError("max_tokens is " + std::to_string(request.max_tokens) + ", expected 1 or more");
  }
  check_sampling(request.sampling);
  const std::vector<std::size_t> sources = source_indices(request);
  std::vector<int> counts;
  for (const std::size_t source : sources) counts.push_back(sources_[source].soft_tokens);
  ChatOptions chat;
  chat.thinking = request.thinking;
  Prompt prompt;
  prompt.ids = engine_.tokenizer_.encode(render_chat(request.messages, counts, chat));

  const auto placeholder = [&](SoftTokenSource::Kind kind) {
    const MultimodalTokenIds& tokens = engine_.config_.tokens;
    return kind == SoftTokenSource::Kind::image   ? tokens.image
           : kind == SoftTokenSource::Kind::audio ? tokens.audio
                                                  : tokens.video;
  };
  std::size_t next = 0;
  std::size_t row = 0;
  for (const TokenId id : prompt.ids) {
    // render_chat writes the placeholders in the order of the sources, and nothing else can.
    if (next == sources.size() || id != placeholder(sources_[sources[next]].source.kind)) {
      prompt.keys.push_back(static_cast<std::uint64_t>(id));
      continue;
    }
    prompt.keys.push_back(soft_key(sources[next], row));
    if (++row == static_cast<std::size_t>(counts[next])) {
      row = 0;
      ++next;
    }
  }
  if (next != sources.size()) throw RequestError("the prompt has fewer placeholders than soft tokens");
  const std::size_t context = engine_.config_.text.max_position_embeddings;
  if (prompt.ids.size() >= context) {
    throw RequestError("the prompt has " + std::to_string(prompt.ids.size()) + " tokens, the model takes " +
                       std::to_string(context) + " with the answer");
  }
  return prompt;
}

void Call::make_tree() {
  std::vector<std::vector<std::uint64_t>> keys;
  for (const Prompt& prompt : prompts_) keys.push_back(prompt.keys);
  nodes_ = build_prefix_tree(keys, kMinSharedTokens);
  children_.resize(nodes_.size());
  for (std::size_t i = nodes_.size(); i-- > 0;) {
    const PrefixNode& node = nodes_[i];
    if (node.parent == PrefixNode::kNone) {
      ready_.push_back({i, engine_.decoder_.make_cache(), 0});
    } else {
      children_[node.parent].push_back(i);
    }
    each_source(node, [](Source& source) { ++source.uses; });
    // Positions that another request's stretch brought in.
    if (node.leaf) {
      for (std::size_t n = node.parent; n != PrefixNode::kNone; n = nodes_[n].parent) {
        if (nodes_[n].request == node.request) continue;
        answers_[node.request].shared_prompt_tokens += static_cast<int>(nodes_[n].end - nodes_[n].begin);
      }
    }
  }
}

template <class F>
void Call::each_source(const PrefixNode& node, F f) {
  const auto& keys = prompts_[node.request].keys;
  for (std::size_t i = node.begin; i < node.end; ++i) {
    if ((keys[i] & kSoftBit) == 0) continue;
    // The same source may follow itself: its row 0 starts anew.
    const bool first = i == node.begin || (keys[i - 1] & kSoftBit) == 0 || key_row(keys[i]) == 0;
    if (first) f(sources_[key_source(keys[i])]);
  }
}

void Call::need_source(std::size_t index) {
  Source& source = sources_[index];
  if (source.rows) return;
  source.rows = engine_.known_sources_.find(source.source);
  if (source.rows) return;
  const auto start = Clock::now();
  source.rows =
      std::make_shared<const MatrixBuffer>(engine_.towers_.encode(source.source, [this] { check_stop(); }));
  engine_.known_sources_.insert(source.source, source.rows);
  const bool sound = source.source.kind == SoftTokenSource::Kind::audio;
  engine_.count([&](EngineStats& stats) {
    ++(sound ? stats.audio_clips : stats.images);
    (sound ? stats.audio_s : stats.vision_s) += seconds_since(start);
  });
}

void Call::input_row(const Prompt& prompt, std::size_t position, Vector row) {
  const std::uint64_t key = prompt.keys[position];
  if ((key & kSoftBit) == 0) {
    engine_.decoder_.embed({&prompt.ids[position], 1}, Matrix(row.data(), 1, row.size()));
    return;
  }
  need_source(key_source(key));
  const auto soft = sources_[key_source(key)].rows->row(key_row(key));
  std::copy(soft.begin(), soft.end(), row.begin());
}

void Call::end(Sequence& sequence, FinishReason reason) {
  Answer& answer = answers_[sequence.request];
  sequence.builder.finish(answer);
  answer.finish_reason = reason;
  answer.generated_tokens = sequence.generated;
  ended_[sequence.request] = true;
  --leaves_open_;
}

bool Call::advance(Sequence& sequence, std::span<float> logits) {
  const Request& request = requests_[sequence.request];
  const auto& stops = engine_.config_.generation.eos_token_ids;
  const TokenId id = sequence.sampler.choose(logits);
  if (std::binary_search(stops.begin(), stops.end(), id)) {
    end(sequence, FinishReason::stop);
    return true;
  }
  ++sequence.generated;
  sequence.builder.push(id);
  sequence.next = id;
  std::optional<FinishReason> reason;
  if (sequence.repetition.push(id)) {
    reason = FinishReason::repetition;
  } else if (sequence.generated >= request.max_tokens) {
    reason = FinishReason::length;
  } else if (sequence.cache.length() + 1 >= engine_.config_.text.max_position_embeddings) {
    reason = FinishReason::context;
  }
  if (reason) end(sequence, *reason);
  return reason.has_value();
}

void Call::finish_stretch(Stretch stretch, std::span<float> logits) {
  const PrefixNode& node = nodes_[stretch.node];
  each_source(node, [](Source& source) {
    if (--source.uses == 0) source.rows.reset();
  });
  if (!node.leaf) {
    for (const std::size_t child : children_[stretch.node]) {
      ready_.push_back({child, stretch.cache.fork(), stretch.done});
    }
    return;
  }
  const std::size_t request = node.request;
  std::function<void(std::string_view)> on_text;
  if (on_text_) on_text = [this, request](std::string_view piece) { on_text_(request, piece); };
  Sequence sequence{request, std::move(stretch.cache),
                    0,       {requests_[request].sampling, engine_.config_.generation.suppress_tokens},
                    {},      {engine_.tokenizer_, engine_.channel_, std::move(on_text)},
                    0};
  if (!advance(sequence, logits)) sequences_.push_back(std::move(sequence));
}

/// One forward pass: a token of every generating sequence, and stretches of prompts in
/// the rows that are left.
void Call::pass() {
  const auto start = Clock::now();
  struct Part {
    std::size_t rows = 0;
    std::size_t stretch = 0;  ///< index into ready_
    bool complete = false;
  };
  std::vector<Part> parts;
  std::size_t rows = sequences_.size();
  const std::size_t decode_rows = rows;
  // Once a sequence has to wait for a place, nothing new is opened: caches and soft tokens
  // of a long call stay few.
  bool full = false;
  for (std::size_t i = ready_.size(); i-- > 0 && rows < kRowsPerPass;) {
    const PrefixNode& node = nodes_[ready_[i].node];
    const bool begun = ready_[i].done > node.begin;
    full = full || (node.leaf && !begun && leaves_open_ >= kMaxSequences);
    if (full && !begun) continue;
    if (node.leaf && !begun) ++leaves_open_;
    const std::size_t count = std::min(kRowsPerPass - rows, node.end - ready_[i].done);
    parts.push_back({count, i, ready_[i].done + count == node.end});
    rows += count;
  }

  const auto tower_seconds = [this] {
    const EngineStats stats = engine_.stats();
    return stats.vision_s + stats.audio_s;
  };
  const double towers_before = tower_seconds();
  inputs_.resize(rows, engine_.config_.text.hidden_size);
  std::vector<text::SequenceStep> steps;
  std::size_t row = 0;
  for (Sequence& sequence : sequences_) {
    engine_.decoder_.embed({&sequence.next, 1}, inputs_.view().row_block(row, 1));
    steps.push_back(
        {&sequence.cache, inputs_.view().row_block(row, 1), {&sequence.next, 1}, text::LogitRows::last});
    ++row;
  }
  for (const Part& part : parts) {
    Stretch& stretch = ready_[part.stretch];
    const PrefixNode& node = nodes_[stretch.node];
    const Prompt& prompt = prompts_[node.request];
    for (std::size_t r = 0; r < part.rows; ++r) input_row(prompt, stretch.done + r, inputs_.row(row + r));
    steps.push_back({&stretch.cache, inputs_.view().row_block(row, part.rows),
                     std::span(prompt.ids).subspan(stretch.done, part.rows),
                     node.leaf && part.complete ? text::LogitRows::last : text::LogitRows::none});
    row += part.rows;
  }
  engine_.decoder_.forward(steps, logits_,
                           [this](std::string_view, std::size_t, ConstMatrix) { check_stop(); });
  const double elapsed = seconds_since(start) - (tower_seconds() - towers_before);
  engine_.count([&](EngineStats& stats) {
    stats.decode_tokens += decode_rows;
    stats.prefill_tokens += rows - decode_rows;
    // A mixed pass is a prompt's work with a few rows on top.
    (rows > decode_rows ? stats.prefill_s : stats.decode_s) += elapsed;
  });

  std::size_t logit_row = 0;
  std::deque<Sequence> going;
  for (Sequence& sequence : sequences_) {
    if (!advance(sequence, logits_.row(logit_row++))) going.push_back(std::move(sequence));
  }
  sequences_ = std::move(going);
  std::vector<Stretch> complete;
  std::vector<std::size_t> complete_rows;
  for (const Part& part : parts) {
    Stretch& stretch = ready_[part.stretch];
    stretch.done += part.rows;
    if (!part.complete) continue;
    complete.push_back(std::move(stretch));
    complete_rows.push_back(nodes_[complete.back().node].leaf ? logit_row++ : 0);
  }
  // Parts run from the back of ready_ to its front, so the indices behind stay right.
  for (const Part& part : parts) {
    if (part.complete) ready_.erase(ready_.begin() + static_cast<std::ptrdiff_t>(part.stretch));
  }
  for (std::size_t i = complete.size(); i-- > 0;) {
    const bool leaf = nodes_[complete[i].node].leaf;
    finish_stretch(std::move(complete[i]), leaf ? logits_.row(complete_rows[i]) : std::span<float>{});
  }
}

void Call::cancel() {
  for (Sequence& sequence : sequences_) end(sequence, FinishReason::cancelled);
  sequences_.clear();
  for (std::size_t i = 0; i < answers_.size(); ++i) {
    if (!ended_[i]) answers_[i].finish_reason = FinishReason::cancelled;
  }
  ready_.clear();
}

std::vector<Answer> Call::run() {
  ended_.assign(requests_.size(), false);
  make_tree();
  try {
    while (!ready_.empty() || !sequences_.empty()) {
      check_stop();
      pass();
    }
  } catch (const Stopped&) {
    // A pass that is left halfway has committed nothing to the caches.
    cancel();
  }
  return std::move(answers_);
}

std::vector<Answer> LoadedEngine::answer(std::span<const Request> requests, std::stop_token stop,
                                         const std::function<void(std::size_t, std::string_view)>& on_text) {
  ops::set_num_threads(threads_);
  return Call(*this, requests, std::move(stop), on_text).run();
}

}  // namespace

std::unique_ptr<Engine> Engine::load(const std::filesystem::path& dir, const EngineOptions& options) {
  return std::make_unique<LoadedEngine>(dir, options);
}

}  // namespace reelfolio::engine
