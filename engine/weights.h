#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "engine/config.h"
#include "engine/embedding_table.h"
#include "engine/ops/clipped_linear.h"
#include "engine/ops/matmul.h"
#include "engine/safetensors.h"

/// From checkpoint tensors to what the operations take. Each function throws ModelError
/// for a tensor that is missing or misshapen, and gives the mapping's pages back once
/// a weight is copied: loading never holds a weight twice for longer than its conversion.
namespace reelfolio::engine {

/// How the parts of a model keep their weights when --weights asks for `type`: with integers
/// of 4 and 2 bits, parts that are small and sensitive keep more.
struct WeightPlan {
  explicit WeightPlan(ops::WeightType type);

  ops::WeightType layers;     ///< attention and MLP of the decoder
  ops::WeightType per_layer;  ///< gates and projections of the per-layer embeddings: 1 % of the size, and at
                              ///< 4 bits they are reported to double the divergence
  ops::WeightType head;  ///< the tied embedding as logits; 2 bits only find candidates (text/exact_logits.h)
  ops::WeightType vision;
  ops::WeightType audio;
};

/// `name` [out, in].
ops::Linear load_linear(const Checkpoint& checkpoint, std::string_view name, std::size_t out, std::size_t in,
                        ops::WeightType type);
/// `prefix`.linear.weight with the bounds beside it, which may be scalars or [1]; a
/// missing bound is infinite, and a lower one above its upper one, or NaN, is a ModelError.
ops::ClippedLinear load_clipped_linear(const Checkpoint& checkpoint, const std::string& prefix,
                                       std::size_t out, std::size_t in, ops::WeightType type);
std::vector<float> load_vector(const Checkpoint& checkpoint, std::string_view name, std::size_t size);

/// One decoder layer. k_proj, v_proj and k_norm are empty on shared-KV layers, even
/// where the checkpoint has tensors of those names.
struct TextLayerWeights {
  std::vector<float> input_layernorm, post_attention_layernorm, pre_feedforward_layernorm,
      post_feedforward_layernorm, post_per_layer_input_norm;
  std::vector<ops::Linear> projections;  ///< see the accessors
  std::vector<float> q_norm, k_norm;
  float layer_scalar = 1.0F;
  bool own_kv = false;

  const ops::Linear& q_proj() const { return projections[0]; }
  const ops::Linear& o_proj() const { return projections[1]; }
  const ops::Linear& gate_proj() const { return projections[2]; }
  const ops::Linear& up_proj() const { return projections[3]; }
  const ops::Linear& down_proj() const { return projections[4]; }
  const ops::Linear& per_layer_input_gate() const { return projections[5]; }
  const ops::Linear& per_layer_projection() const { return projections[6]; }
  const ops::Linear& k_proj() const { return projections[7]; }
  const ops::Linear& v_proj() const { return projections[8]; }
};

/// The text decoder. The two tables stay in the checkpoint's mapping, and so do the matrices of a packed
/// model; it must outlive this. Everything else is owned.
struct TextWeights {
  EmbeddingTable embed_tokens;            ///< [vocab_size, hidden_size], for look-ups
  EmbeddingTable embed_tokens_per_layer;  ///< [vocab_size_per_layer_input, layers * per-layer size]
  /// The same numbers as embed_tokens, packed for the logits.
  ops::Linear head;
  /// Rows of per_layer_model_projection for the layers below first_kv_shared_layer, and
  /// for the rest, which few positions need; either may be missing.
  std::vector<ops::Linear> per_layer_model_projection_early, per_layer_model_projection_late;
  std::vector<float> per_layer_projection_norm;
  std::vector<float> norm;
  std::vector<TextLayerWeights> layers;

  std::size_t memory_bytes() const;
  /// Whether the head has 2 bits a weight, too few to rank tokens by.
  bool has_coarse_head() const {
    return head.packed() != nullptr && head.packed()->shape.format == quant::Format::int2;
  }
};

TextWeights load_text_weights(const TextConfig& config, const Checkpoint& checkpoint, const WeightPlan& plan);

}  // namespace reelfolio::engine
