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

/// The engine's front door: load a Gemma 4 directory, answer requests.
/// Needs nothing of the pipeline; see tests/engine/engine_test.cpp for a use in ten lines.
namespace reelfolio::engine {

class Tokenizer;
struct ModelConfig;

struct SamplingOptions {
  /// 0 takes the likeliest token (greedy), whatever the other fields say.
  float temperature = 0.0F;
  /// 0 switches top-k off; 1.0 switches top-p off.
  int top_k = 0;
  float top_p = 1.0F;
  std::uint64_t seed = 0;
};

struct Request {
  std::vector<Message> messages;
  bool thinking = false;
  int max_tokens = 256;
  SamplingOptions sampling;
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
};

struct EngineOptions {
  ops::WeightType weights = ops::WeightType::bf16;
  int threads = 0;  ///< 0: one for each core that this process may use
};

/// Counters since loading, for progress and the run report.
struct EngineStats {
  std::uint64_t prefill_tokens = 0;
  std::uint64_t decode_tokens = 0;
  std::uint64_t images = 0;
  double vision_s = 0;
  double prefill_s = 0;
  double decode_s = 0;
};

/// Owns a loaded model. `answer` may be called from one thread at a time; it uses
/// `threads` OpenMP threads of its own. The const accessors may be called from any thread.
class Engine {
 public:
  /// Loads `dir` (a Hugging Face directory as released). Throws ModelError.
  static std::unique_ptr<Engine> load(const std::filesystem::path& dir, const EngineOptions& options);

  virtual ~Engine() = default;

  /// Answers each request; answers come in the order of the requests. Requests whose
  /// prompts begin with the same tokens and the same images share that prefix's
  /// prefill. The result of a request does not depend on the others in the call.
  /// `on_text`, where given, receives each piece of visible text as it is made.
  /// Throws RequestError for a request that this model cannot take (before any work is done).
  virtual std::vector<Answer> answer(
      std::span<const Request> requests, std::stop_token stop = {},
      const std::function<void(std::size_t request, std::string_view text)>& on_text = {}) = 0;

  virtual const ModelConfig& config() const = 0;
  virtual const Tokenizer& tokenizer() const = 0;
  virtual EngineStats stats() const = 0;
  /// SHA-256 over config, tokenizer, processor settings and tensors' names, shapes and
  /// contents (sampled for speed, see the .cpp) as hex: the same for a copy of the directory.
  virtual const std::string& fingerprint() const = 0;
};

}  // namespace reelfolio::engine
