#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "engine/chat.h"
#include "engine/error.h"
#include "engine/ops/matmul.h"
#include "engine/text/kv_type.h"
#include "engine/thread_placement.h"

/// The engine's front door: load a Gemma 4 directory, answer requests.
/// Needs nothing of the pipeline; see tests/engine/engine_test.cpp for a use in ten lines.
namespace reelfolio::engine {

class Constraint;
class Tokenizer;
struct ModelConfig;

struct SamplingOptions {
  /// 0 takes the likeliest token (greedy), whatever the other fields say.
  float temperature = 0.0F;
  /// 0 switches top-k off; 1.0 switches top-p off.
  int top_k = 0;
  float top_p = 1.0F;
  std::uint64_t seed = 0;
  /// With a temperature: tokens below this share of the likeliest token's probability are out; 0 is off.
  float min_p = 0.0F;
  /// Above 1: logits of tokens that the answer (not the prompt) already holds are divided by
  /// this where positive and multiplied where negative; 1 is off. Works on greedy choices too.
  float repetition_penalty = 1.0F;
};

struct Request {
  std::vector<Message> messages;
  bool thinking = false;
  int max_tokens = 256;
  SamplingOptions sampling;
  /// With `thinking`: tokens of thought at most; then the thought channel is closed by force.
  std::optional<int> thinking_budget;
  /// The answer ends in front of the first of these that its text (not its thoughts) comes to
  /// hold. Not together with a constraint.
  std::vector<std::string> stop;
  /// What the text may be (constraint/constraint.h). It begins where the thought channel closes.
  /// Tokens are kept back so that the text is whole at max_tokens: finish_reason `length` then
  /// says that it was completed by force, in the shortest way.
  std::shared_ptr<const Constraint> constraint;
  /// Fill Answer::tokens.
  bool log_probabilities = false;
};

/// A token of an answer's text. Where several make up one character, bytes may be empty.
struct AnswerToken {
  std::size_t begin = 0;  ///< bytes of Answer::text
  std::size_t end = 0;
  /// Natural logarithm of its probability among all tokens, before temperature, filters and
  /// constraint. Absent for tokens that were forced: the model was not asked.
  std::optional<float> log_probability;
};

/// Why the text ends: a stop token, the token limit, the model's context is full,
/// a loop of repetitions was cut off, or the caller asked to stop.
enum class FinishReason { stop, length, context, repetition, cancelled };

/// "stop", "length", ... as records spell it.
std::string_view finish_reason_name(FinishReason reason);

struct Answer {
  /// Without control tokens and thoughts; no white space at either end.
  std::string text;
  /// What stood in the thought channel, if the model opened one.
  std::optional<std::string> thinking;
  FinishReason finish_reason = FinishReason::stop;
  int prompt_tokens = 0;
  /// Prompt tokens whose keys and values came from an earlier request of the same call.
  int shared_prompt_tokens = 0;
  int generated_tokens = 0;
  /// Those of generated_tokens that the constraint left no choice about, taken without the model.
  int forced_tokens = 0;
  /// The stop string that ended it.
  std::optional<std::string> stopped_at;
  /// Where asked for: the tokens of `text`, in order.
  std::vector<AnswerToken> tokens;
  /// Its share of the time that the engine worked on it: of a pass, by rows.
  double compute_s = 0;
};

/// Work for `Engine::serve`.
struct RequestGroup {
  std::uint64_t id = 0;  ///< the source's own; given back with the answers
  /// Each set is answered as a whole or refused as a whole; none is empty. Prompts of a group that
  /// begin with the same tokens, pictures and sounds share that prefix's prefill.
  std::vector<std::vector<Request>> sets;
};

/// Where `Engine::serve` takes its work from and leaves its answers. It calls from its own thread;
/// what a call throws ends `serve` and is thrown by it.
class RequestSource {
 public:
  virtual ~RequestSource() = default;
  /// The next group, if there is one. `idle`: nothing is being answered, so wait for one;
  /// without one `serve` ends.
  virtual std::optional<RequestGroup> next(bool idle) = 0;
  /// All requests of a set have ended; answers are in their order.
  virtual void answered(std::uint64_t group, std::size_t set, std::vector<Answer> answers) = 0;
  /// The model cannot take `request` of a set. Called before any work on the group is done.
  virtual void refused(std::uint64_t group, std::size_t set, std::size_t request,
                       const RequestError& error) = 0;
  /// A piece of a request's visible text, as it is made.
  virtual void on_text(std::uint64_t group, std::size_t set, std::size_t request, std::string_view text) {
    (void)group, (void)set, (void)request, (void)text;
  }
};

struct ServeOptions {
  /// Sequences that are decoded together at most.
  int max_sequences = 16;
  /// Bytes of keys and values that they may come to in all; one that needs more goes alone.
  std::uint64_t cache_bytes = std::uint64_t{4} << 30;
};

struct EngineOptions {
  ops::WeightType weights = ops::WeightType::bf16;
  int threads = 0;  ///< 0: one for each core that this process may use
  /// How keys and values are kept; nullopt: text::default_kv_type.
  std::optional<text::KvType> kv_cache = std::nullopt;
  Pinning pinning = Pinning::automatic;
};

/// Counters since loading, for progress and the run report.
struct EngineStats {
  std::uint64_t prefill_tokens = 0;
  std::uint64_t decode_tokens = 0;
  /// Tokens of answers with a constraint: taken without the model, and chosen under a mask.
  std::uint64_t forced_tokens = 0;
  std::uint64_t masked_tokens = 0;
  std::uint64_t images = 0;  ///< through the vision tower, frames of videos included
  std::uint64_t audio_clips = 0;
  double mask_s = 0;  ///< making masks
  double vision_s = 0;
  double audio_s = 0;
  double prefill_s = 0;
  double decode_s = 0;
};

/// Owns a loaded model. `answer` and `serve` may be called from one thread at a time; they use
/// `threads` OpenMP threads of their own. The const accessors may be called from any thread.
class Engine {
 public:
  /// Loads `dir` (a Hugging Face directory as released). Throws ModelError.
  static std::unique_ptr<Engine> load(const std::filesystem::path& dir, const EngineOptions& options);

  /// The same, but the weights are loaded when the first request comes, on its thread; then `on_load`,
  /// which may be empty, is called. What can be told of the directory without them is checked at once.
  static std::unique_ptr<Engine> load_when_asked(const std::filesystem::path& dir,
                                                 const EngineOptions& options,
                                                 std::function<void()> on_load = {});

  virtual ~Engine() = default;

  /// Answers each request; answers come in the order of the requests. Requests whose
  /// prompts begin with the same tokens, pictures and sounds share that prefix's
  /// prefill. The result of a request does not depend on the others in the call.
  /// `on_text`, where given, receives each piece of visible text as it is made.
  /// A stop is noticed between layers; what has been generated by then is returned.
  /// Throws RequestError for a request that this model cannot take (before any work is done).
  virtual std::vector<Answer> answer(
      std::span<const Request> requests, std::stop_token stop = {},
      const std::function<void(std::size_t request, std::string_view text)>& on_text = {}) = 0;

  /// Answers groups until the source has no more: sequences of many groups share each pass over the
  /// weights, and a group is taken whenever fewer than max_sequences requests are unanswered.
  /// Prompts are prefilled in chunks beside the sequences that decode, those of earlier groups
  /// first. An answer is the one that `answer` gives, whatever else is being answered.
  /// On a stop every set that is not complete is answered with what has been generated by then.
  virtual void serve(RequestSource& source, const ServeOptions& options, std::stop_token stop = {}) = 0;

  virtual const ModelConfig& config() const = 0;
  virtual const Tokenizer& tokenizer() const = 0;
  virtual EngineStats stats() const = 0;
  /// The type of weights in use: a packed directory has its own, whatever the options said.
  virtual ops::WeightType weights() const = 0;
  virtual text::KvType kv_cache() const = 0;
  /// SHA-256 over config, tokenizer, processor settings and tensors' names, shapes and
  /// contents (sampled for speed, see the .cpp) as hex: the same for a copy of the directory.
  virtual const std::string& fingerprint() const = 0;
};

}  // namespace reelfolio::engine
