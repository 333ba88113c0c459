#include "engine/engine.h"

#include <optional>
#include <utility>

#include "engine/loaded_engine.h"
#include "engine/loaded_model.h"
#include "engine/serving.h"

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

/// The requests of one call of `answer`, as a group of one set.
class OneSet final : public RequestSource {
 public:
  OneSet(std::span<const Request> requests,
         const std::function<void(std::size_t request, std::string_view text)>& on_text)
      : requests_(requests), on_text_(on_text) {}

  std::optional<RequestGroup> next(bool /*idle*/) override {
    if (std::exchange(given_, true) || requests_.empty()) return std::nullopt;
    return RequestGroup{0, {{requests_.begin(), requests_.end()}}};
  }
  void answered(std::uint64_t /*group*/, std::size_t /*set*/, std::vector<Answer> all) override {
    answers = std::move(all);
  }
  void refused(std::uint64_t /*group*/, std::size_t /*set*/, std::size_t /*request*/,
               const RequestError& error) override {
    throw error;
  }
  void on_text(std::uint64_t /*group*/, std::size_t /*set*/, std::size_t request,
               std::string_view text) override {
    if (on_text_) on_text_(request, text);
  }

  std::vector<Answer> answers;

 private:
  std::span<const Request> requests_;
  const std::function<void(std::size_t, std::string_view)>& on_text_;
  bool given_ = false;
};

class LoadedEngine final : public Engine {
 public:
  LoadedEngine(const std::filesystem::path& dir, const EngineOptions& options,
               std::shared_ptr<const Tokenizer> tokenizer)
      : model_(dir, options, std::move(tokenizer)) {}

  std::vector<Answer> answer(
      std::span<const Request> requests, std::stop_token stop,
      const std::function<void(std::size_t request, std::string_view text)>& on_text) override {
    OneSet source(requests, on_text);
    serve(source, {}, std::move(stop));
    return std::move(source.answers);
  }
  void serve(RequestSource& source, const ServeOptions& options, std::stop_token stop) override {
    ops::set_num_threads(model_.threads);
    Serving(model_, source, options, std::move(stop)).run();
  }

  const ModelConfig& config() const override { return model_.config; }
  const Tokenizer& tokenizer() const override { return model_.tokenizer; }
  const std::string& fingerprint() const override { return model_.fingerprint; }
  ops::WeightType weights() const override { return model_.weights; }
  text::KvType kv_cache() const override { return model_.kv_type; }
  EngineStats stats() const override { return model_.stats(); }

 private:
  LoadedModel model_;
};

}  // namespace

std::unique_ptr<Engine> load_engine(const std::filesystem::path& dir, const EngineOptions& options,
                                    std::shared_ptr<const Tokenizer> tokenizer) {
  return std::make_unique<LoadedEngine>(dir, options, std::move(tokenizer));
}

std::unique_ptr<Engine> Engine::load(const std::filesystem::path& dir, const EngineOptions& options) {
  return load_engine(dir, options, std::make_shared<const Tokenizer>(Tokenizer::load(dir)));
}

}  // namespace reelfolio::engine
