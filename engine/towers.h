#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "engine/audio/audio_tower.h"
#include "engine/config.h"
#include "engine/ops/matmul.h"
#include "engine/safetensors.h"
#include "engine/soft_token_cache.h"
#include "engine/vision/vision_tower.h"
#include "engine/weight_pages.h"

namespace reelfolio::engine {

/// The towers of a model: what can be seen and heard, and its soft tokens.
///
/// The vision tower is loaded at once, the audio tower when it is first needed, so that a run
/// without sound never holds it. Borrows config and checkpoint. One thread at a time; works on the OpenMP
/// threads of the calling thread.
class Towers {
 public:
  /// Throws ModelError for tensors of a tower that are missing or misshapen, also of the audio
  /// tower, of which it reads names and shapes only. A checkpoint without any tensor of the audio
  /// tower is a model that does not hear, whatever its config says.
  Towers(const ModelConfig& config, const Checkpoint& checkpoint, ops::WeightType weights);
  ~Towers();

  /// The number of soft tokens that `encode` gives, 1 or more. Throws RequestError for a source that this
  /// model cannot take.
  int soft_tokens(const SoftTokenSource& source) const;

  /// Rows for the decoder's input, [soft_tokens(source), hidden_size], of a source that soft_tokens
  /// accepts. `between_layers` may throw to give up. Throws ModelError where the audio tower
  /// turns out to be damaged.
  /// Nothing else may use the checkpoint's weights meanwhile (weight_pages.h).
  MatrixBuffer encode(const SoftTokenSource& source, const std::function<void()>& between_layers);

  bool sees() const { return vision_.has_value(); }
  bool hears() const { return hears_; }
  /// Bytes of the vision tower's matrices.
  std::size_t vision_bytes() const { return vision_ ? vision_->memory_bytes() : 0; }
  /// Whether the audio tower's weights are in memory.
  bool has_loaded_audio() const { return audio_.has_value(); }

 private:
  const ModelConfig& config_;
  const Checkpoint& checkpoint_;
  const ops::WeightType weights_;
  const bool hears_;
  const WeightPages pages_;
  std::optional<vision::VisionTower> vision_;
  std::optional<audio::AudioTower> audio_;  ///< once sound has been met
};

}  // namespace reelfolio::engine
