#include <memory>
#include <mutex>
#include <utility>

#include "engine/config.h"
#include "engine/engine.h"
#include "engine/fingerprint.h"
#include "engine/loaded_engine.h"
#include "engine/packed_model.h"
#include "engine/safetensors.h"
#include "engine/tokenizer.h"

namespace reelfolio::engine {

namespace {

/// Hands on a first group that has been taken already.
class Prepended final : public RequestSource {
 public:
  Prepended(RequestGroup first, RequestSource& rest) : first_(std::move(first)), rest_(rest) {}

  std::optional<RequestGroup> next(bool idle) override {
    return first_ ? std::exchange(first_, std::nullopt) : rest_.next(idle);
  }
  void answered(std::uint64_t group, std::size_t set, std::vector<Answer> answers) override {
    rest_.answered(group, set, std::move(answers));
  }
  void refused(std::uint64_t group, std::size_t set, std::size_t request,
               const RequestError& error) override {
    rest_.refused(group, set, request, error);
  }
  void on_text(std::uint64_t group, std::size_t set, std::size_t request, std::string_view text) override {
    rest_.on_text(group, set, request, text);
  }

 private:
  std::optional<RequestGroup> first_;
  RequestSource& rest_;
};

class LazyEngine final : public Engine {
 public:
  LazyEngine(std::filesystem::path dir, const EngineOptions& options, std::function<void()> on_load)
      : dir_(std::move(dir)),
        options_(options),
        on_load_(std::move(on_load)),
        config_(load_model_config(dir_)),
        tokenizer_(std::make_shared<const Tokenizer>(Tokenizer::load(dir_))) {
    const Checkpoint checkpoint = Checkpoint::open(dir_);
    weights_ = packed_weights(checkpoint).value_or(options.weights);
    fingerprint_ = model_fingerprint(dir_, checkpoint);
  }

  std::vector<Answer> answer(
      std::span<const Request> requests, std::stop_token stop,
      const std::function<void(std::size_t request, std::string_view text)>& on_text) override {
    return loaded().answer(requests, std::move(stop), on_text);
  }
  void serve(RequestSource& source, const ServeOptions& options, std::stop_token stop) override {
    std::optional<RequestGroup> first = source.next(true);
    if (!first) return;
    Prepended all(std::move(*first), source);
    loaded().serve(all, options, std::move(stop));
  }
  const ModelConfig& config() const override { return config_; }
  const Tokenizer& tokenizer() const override { return *tokenizer_; }
  EngineStats stats() const override {
    const std::lock_guard lock(mutex_);
    return engine_ ? engine_->stats() : EngineStats{};
  }
  ops::WeightType weights() const override { return weights_; }
  text::KvType kv_cache() const override {
    return options_.kv_cache.value_or(text::default_kv_type(weights_));
  }
  const std::string& fingerprint() const override { return fingerprint_; }

 private:
  Engine& loaded() {
    if (!engine_) {
      std::unique_ptr<Engine> engine = load_engine(dir_, options_, tokenizer_);
      {
        const std::lock_guard lock(mutex_);
        engine_ = std::move(engine);
      }
      if (on_load_) on_load_();
    }
    return *engine_;
  }

  const std::filesystem::path dir_;
  const EngineOptions options_;
  const std::function<void()> on_load_;
  const ModelConfig config_;
  const std::shared_ptr<const Tokenizer> tokenizer_;
  ops::WeightType weights_ = ops::WeightType::bf16;
  std::string fingerprint_;
  mutable std::mutex mutex_;  ///< `stats` may be called while the model is being loaded
  std::unique_ptr<Engine> engine_;
};

}  // namespace

std::unique_ptr<Engine> Engine::load_when_asked(const std::filesystem::path& dir,
                                                const EngineOptions& options, std::function<void()> on_load) {
  return std::make_unique<LazyEngine>(dir, options, std::move(on_load));
}

}  // namespace reelfolio::engine
