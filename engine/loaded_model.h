#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <string>

#include "engine/answer_builder.h"
#include "engine/config.h"
#include "engine/engine.h"
#include "engine/generation.h"
#include "engine/safetensors.h"
#include "engine/soft_token_cache.h"
#include "engine/text/decoder.h"
#include "engine/tokenizer.h"
#include "engine/towers.h"

namespace reelfolio::engine {

/// All that a directory holds, ready to compute, and the counters of what has been computed.
/// One thread at a time, but for what is const and `stats`.
class LoadedModel {
 public:
  /// `dir_tokenizer`: the directory's. Throws ModelError.
  LoadedModel(const std::filesystem::path& dir, const EngineOptions& options,
              std::shared_ptr<const Tokenizer> dir_tokenizer);

  EngineStats stats() const {
    const std::lock_guard lock(stats_mutex_);
    return stats_;
  }
  /// f(EngineStats&) adds to the counters.
  template <class F>
  void count(F f) {
    const std::lock_guard lock(stats_mutex_);
    f(stats_);
  }

  const int threads;
  const ModelConfig config;
  const std::shared_ptr<const Tokenizer> shared_tokenizer;
  const Tokenizer& tokenizer;
  const Checkpoint checkpoint;
  const ops::WeightType weights;
  const text::KvType kv_type;
  const std::string fingerprint;
  text::TextDecoder decoder;
  Towers towers;
  const ChannelTokens channel;
  SoftTokenCache known_sources;

  GenerationModel generation() const { return {tokenizer, config, channel, grammars_}; }

 private:
  text::TextDecoder make_decoder(Pinning pinning) const;

  mutable Grammars grammars_;
  mutable std::mutex stats_mutex_;
  EngineStats stats_;
};

}  // namespace reelfolio::engine
