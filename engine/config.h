#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/token_id.h"

/// A model directory's settings, each named once, in the checkpoint's spelling.
/// Source of the keys and of the arithmetic: gemma4.md, sections 1, 4.4, 4.5 and 11.
namespace reelfolio::engine {

enum class LayerType { sliding, full };

/// inv[j] = theta^(-2j / head_dim) / factor for the rotated frequencies, 0 for the rest.
///   standard      "default": all head_dim / 2 frequencies rotate
///   proportional  the first floor(partial_rotary_factor * head_dim / 2) rotate
struct RopeConfig {
  enum class Type { standard, proportional };
  Type type = Type::standard;
  double rope_theta = 10000.0;
  double partial_rotary_factor = 1.0;
  double factor = 1.0;

  /// Number of frequencies that rotate, at most head_dim / 2.
  std::size_t rotated_frequencies(std::size_t head_dim) const;
};

/// One decoder layer, with everything resolved that depends on its index.
struct TextLayerConfig {
  LayerType type = LayerType::sliding;
  std::size_t head_dim = 0;
  std::size_t num_key_value_heads = 0;
  /// Width of the MLP; doubled on shared-KV layers by use_double_wide_mlp.
  std::size_t intermediate_size = 0;
  /// Layer whose keys and values this layer reads; its own index below
  /// TextConfig::first_kv_shared_layer.
  std::size_t kv_layer = 0;
};

struct TextConfig {
  std::size_t vocab_size = 0;
  std::size_t vocab_size_per_layer_input = 0;
  std::size_t hidden_size = 0;
  std::size_t num_hidden_layers = 0;  ///< == layers.size()
  std::size_t num_attention_heads = 0;
  std::size_t num_kv_shared_layers = 0;
  /// num_hidden_layers - num_kv_shared_layers: layers from here on have no keys and values.
  std::size_t first_kv_shared_layer = 0;
  std::size_t hidden_size_per_layer_input = 0;
  /// A query sees itself and the sliding_window - 1 positions before it.
  std::size_t sliding_window = 0;
  std::size_t max_position_embeddings = 0;
  float rms_norm_eps = 1e-6F;
  /// Logits are cap * tanh(z / cap); absent where the config says null.
  std::optional<float> final_logit_softcapping;
  bool use_double_wide_mlp = false;
  TokenId pad_token_id = 0;
  TokenId bos_token_id = 2;
  RopeConfig sliding_rope;
  RopeConfig full_rope;
  std::vector<TextLayerConfig> layers;

  const RopeConfig& rope(LayerType type) const { return type == LayerType::full ? full_rope : sliding_rope; }
};

struct VisionConfig {
  std::size_t hidden_size = 0;
  std::size_t intermediate_size = 0;
  std::size_t num_hidden_layers = 0;
  std::size_t num_attention_heads = 0;
  std::size_t num_key_value_heads = 0;  ///< == num_attention_heads
  std::size_t head_dim = 0;             ///< a multiple of 4
  std::size_t patch_size = 0;
  std::size_t pooling_kernel_size = 0;
  /// Entries of each position table (x and y): the widest and tallest image in patches.
  std::size_t position_embedding_size = 0;
  double rope_theta = 100.0;
  float rms_norm_eps = 1e-6F;
  bool use_clipped_linears = false;
  bool standardize = false;
};

struct AudioConfig {
  std::size_t hidden_size = 0;
  std::size_t num_hidden_layers = 0;
  std::size_t num_attention_heads = 0;
  std::vector<std::size_t> subsampling_conv_channels;  ///< two entries
  std::size_t conv_kernel_size = 0;
  std::size_t attention_chunk_size = 0;
  std::size_t attention_context_left = 0;
  std::size_t attention_context_right = 0;
  float attention_logit_cap = 0.0F;
  float attention_invalid_logits_value = -1e9F;
  float residual_weight = 0.0F;
  float gradient_clipping = 0.0F;
  std::size_t output_proj_dims = 0;
  float rms_norm_eps = 1e-6F;
  bool use_clipped_linears = false;

  std::size_t head_dim() const { return hidden_size / num_attention_heads; }
};

/// Placeholder and marker tokens named by config.json; the release's ids where a key is missing.
struct MultimodalTokenIds {
  TokenId boi = 255999;
  TokenId eoi = 258882;
  TokenId image = 258880;
  TokenId boa = 256000;
  TokenId eoa = 258883;
  TokenId audio = 258881;
  TokenId video = 258884;
};

/// generation_config.json; the release's values where the file or a key is missing.
struct GenerationConfig {
  std::vector<TokenId> eos_token_ids;    ///< ascending, at least one
  std::vector<TokenId> suppress_tokens;  ///< ascending; logits to be set to -inf
  bool do_sample = true;
  float temperature = 1.0F;
  int top_k = 64;
  float top_p = 0.95F;
};

/// How pictures are cut into patches: processor_config.json, else
/// preprocessor_config.json, else the values of vision_config.
struct ImageProcessorConfig {
  std::size_t patch_size = 16;
  std::size_t pooling_kernel_size = 3;
  std::size_t max_soft_tokens = 280;
};

struct ModelConfig {
  TextConfig text;
  std::optional<VisionConfig> vision;
  std::optional<AudioConfig> audio;
  MultimodalTokenIds tokens;
  GenerationConfig generation;
  ImageProcessorConfig image_processor;
};

/// Reads config.json and, where present, generation_config.json, processor_config.json
/// and preprocessor_config.json of `dir`.
///
/// Unknown keys are ignored. Throws ModelError naming file and key for what is missing,
/// of the wrong type, out of range, contradictory, or outside this engine: mixtures of
/// experts, attention_k_eq_v, bidirectional attention, other rope types or activations.
/// Dimensions are bounded so that no tensor of the model has more than 2^48 elements.
ModelConfig load_model_config(const std::filesystem::path& dir);

/// The texts of the files that load_model_config reads; empty optional: no such file.
struct ConfigTexts {
  std::string config;
  std::optional<std::string> generation_config;
  std::optional<std::string> processor_config;
  std::optional<std::string> preprocessor_config;
};

/// As load_model_config, from texts: for tests and fuzzing.
ModelConfig parse_model_config(const ConfigTexts& texts);

}  // namespace reelfolio::engine
