#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/safetensors.h"

namespace reelfolio::engine::audio {

inline constexpr const char* kTowerPrefix = "model.audio_tower.";
inline constexpr const char* kProjectionName = "model.embed_audio.embedding_projection.weight";

/// A tensor of the audio tower and its embedder, as a checkpoint names it.
struct AudioTensor {
  enum class Use {
    matrix,  ///< a linear layer's, of the type that --weights asks for
    value,   ///< kept in f32
    bound,   ///< of a clipped linear layer: a scalar that may be missing, or have the shape [1]
  };
  std::string name;
  std::vector<std::size_t> shape;
  Use use = Use::matrix;
};

/// Every tensor that the tower reads (gemma4.md, section 2). config.audio must be there.
std::vector<AudioTensor> audio_tensors(const ModelConfig& config);

/// Whether there is an audio_config and any tensor of the tower: models are also stored without it.
bool has_audio_tower(const ModelConfig& config, const Checkpoint& checkpoint);

}  // namespace reelfolio::engine::audio
