#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "engine/config.h"
#include "engine/ops/matmul.h"
#include "engine/safetensors.h"
#include "engine/tensor.h"

namespace reelfolio::engine::audio {

/// Receives intermediate results, for tests: "subsample", "layer.N" and what the blocks inside a
/// layer leave, "layer.N.ffw1", "layer.N.attn" (the branch before its norm), "layer.N.lconv",
/// "layer.N.ffw2"; "tower" is the input of the embedder. All are [soft tokens, *]; borrowed for the call.
using AudioObserver = std::function<void(std::string_view name, ConstMatrix values)>;

/// Log-mel features to soft tokens: subsampling, a conformer (Gulati et al. 2020) whose attention
/// reaches a few positions back, and the embedder that projects to the text decoder's width
/// (gemma4.md, sections 2, 3 and 8).
///
/// Owns its weights; the checkpoint may go once the constructor returns. `encode` uses scratch memory of the
/// object and may be called from one thread at a time; it works on the OpenMP threads of the calling
/// thread, and its result does not depend on their number.
class AudioTower {
 public:
  /// Throws ModelError for a config without audio_config or outside this engine, and for tensors that are
  /// missing or of the wrong shape: `check` the same, without reading a weight.
  AudioTower(const ModelConfig& config, const Checkpoint& checkpoint, ops::WeightType type);
  AudioTower(AudioTower&&) noexcept;
  AudioTower& operator=(AudioTower&&) noexcept;
  ~AudioTower();

  static void check(const ModelConfig& config, const Checkpoint& checkpoint, ops::WeightType type);

  /// features [frames, kMelBins] of mel_features.h, at least one frame. Soft tokens
  /// [ceil(frames / 4), text hidden_size]: rows for the decoder's input, to be used as they are.
  MatrixBuffer encode(ConstMatrix features, const AudioObserver& observer = {}) const;

  /// Bytes of the linear layers' weights held in memory.
  std::size_t memory_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace reelfolio::engine::audio
