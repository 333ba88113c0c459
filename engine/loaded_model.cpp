#include "engine/loaded_model.h"

#include <omp.h>

#include <utility>

#include "engine/error.h"
#include "engine/fingerprint.h"
#include "engine/packed_model.h"

namespace reelfolio::engine {

namespace {

/// Soft tokens remembered from group to group, of hidden_size floats each: eight of the largest pictures,
/// or a video of 32 frames with its sound and more.
constexpr std::size_t kRememberedRows = 8 * 1120;

}  // namespace

LoadedModel::LoadedModel(const std::filesystem::path& dir, const EngineOptions& options,
                         std::shared_ptr<const Tokenizer> dir_tokenizer)
    : threads(options.threads > 0 ? options.threads : omp_get_num_procs()),
      config(load_model_config(dir)),
      shared_tokenizer(std::move(dir_tokenizer)),
      tokenizer(*shared_tokenizer),
      checkpoint(Checkpoint::open(dir)),
      weights(packed_weights(checkpoint).value_or(options.weights)),
      kv_type(options.kv_cache.value_or(text::default_kv_type(weights))),
      fingerprint(model_fingerprint(dir, checkpoint)),
      decoder(make_decoder(options.pinning)),
      towers(config, checkpoint, weights),
      channel{tokenizer.id(control::kChannelBegin), tokenizer.id(control::kChannelEnd)},
      known_sources(kRememberedRows),
      grammars_(tokenizer) {
  if (tokenizer.vocab_size() > config.text.vocab_size) {
    throw ModelError("tokenizer.json: has " + std::to_string(tokenizer.vocab_size()) +
                     " tokens, expected at most the model's " + std::to_string(config.text.vocab_size));
  }
}

text::TextDecoder LoadedModel::make_decoder(Pinning pinning) const {
  ops::set_num_threads(threads);
  pin_threads(pinning, threads);
  const InterleavedMemory interleaved(pinning != Pinning::off && packed_weights(checkpoint).has_value());
  verify_packed_model(checkpoint, PackedPart::decoder_and_vision);
  return {config, checkpoint, weights, kv_type};
}

}  // namespace reelfolio::engine
