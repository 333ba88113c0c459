#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "engine/config.h"
#include "engine/safetensors.h"

/// Models with invented weights, made in memory: for benchmarks without a download.
namespace reelfolio::engine {

/// The sizes in which E4B and E2B differ, and those that a test scales down. Everything else is
/// as in the release (gemma4.md, section 1).
struct SyntheticShape {
  std::string name;
  std::size_t vocab_size = 262144;
  std::size_t hidden_size = 0;
  std::size_t num_hidden_layers = 0;
  std::size_t layer_pattern = 0;  ///< every layer_pattern-th layer is full, the others slide
  std::size_t intermediate_size = 0;
  bool use_double_wide_mlp = false;
  std::size_t num_attention_heads = 8;
  std::size_t num_key_value_heads = 0;
  std::size_t head_dim = 256;
  std::size_t global_head_dim = 512;
  std::size_t num_kv_shared_layers = 0;
  std::size_t hidden_size_per_layer_input = 256;
  std::size_t sliding_window = 512;

  std::size_t vision_hidden_size = 768;
  std::size_t vision_intermediate_size = 3072;
  std::size_t vision_layers = 16;
  std::size_t vision_heads = 12;
  std::size_t vision_head_dim = 64;

  std::size_t audio_hidden_size = 1024;
  std::size_t audio_layers = 12;
  std::size_t audio_heads = 8;
  std::size_t audio_output_dims = 1536;
};

/// The release's shape "e4b" or "e2b"; empty for another name.
std::optional<SyntheticShape> find_synthetic_shape(std::string_view name);

/// The config of a release of that shape. Throws ModelError where the shape contradicts itself.
ModelConfig synthetic_config(const SyntheticShape& shape);

/// Every tensor that a release with `config` has, in bf16, with its name and shape.
///
/// Matrices hold normal deviates of 0.02, so that each product stays near 1 until the next norm.
/// They lie in a range of addresses that maps one block of 64 MiB again and again: sixteen
/// gigabytes of weights cost 64 MiB of memory, and whatever a loader copies from them costs what
/// it would cost with real ones. Norm weights, scalars and clip bounds have values that keep
/// activations finite and free of denormals.
/// `name` stands for the directory in messages. Throws std::system_error where memory is refused.
Checkpoint make_synthetic_checkpoint(const ModelConfig& config, const std::string& name);

}  // namespace reelfolio::engine
