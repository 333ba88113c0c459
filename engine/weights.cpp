#include "engine/weights.h"

#include <utility>

#include "engine/error.h"
#include "engine/packed_model.h"

namespace reelfolio::engine {

namespace {

const std::string kText = "model.language_model.";

/// A scalar stored as [] or [1].
float load_scalar(const Checkpoint& checkpoint, const TensorView& tensor) {
  if (tensor.num_elements() != 1) checkpoint.require(tensor.name, {1});
  float value = 0.0F;
  read_f32(checkpoint.require(tensor.name), {&value, 1});
  return value;
}

float load_bound(const Checkpoint& checkpoint, const std::string& name, float missing) {
  const TensorView* tensor = checkpoint.find(name);
  return tensor == nullptr ? missing : load_scalar(checkpoint, *tensor);
}

void check_bounds(const Checkpoint& checkpoint, const std::string& side, float low, float high) {
  // Written so that NaN fails too.
  if (low <= high) return;
  const TensorView* tensor = checkpoint.find(side + "_min");
  if (tensor == nullptr) tensor = checkpoint.find(side + "_max");
  throw ModelError(tensor->file + ": tensor '" + side + "_min' is " + std::to_string(low) +
                   ", expected at most " + side.substr(side.rfind('.') + 1) + "_max, " +
                   std::to_string(high));
}

/// Rows [first, first + count) of a matrix; in a packed model they are a matrix of their own.
ops::Linear load_rows(const Checkpoint& checkpoint, const std::string& name, const char* packed_suffix,
                      std::size_t tensor_rows, std::size_t first, std::size_t count, std::size_t in,
                      ops::WeightType type) {
  if (type != ops::WeightType::f32) {
    if (const auto packed = find_packed_matrix(checkpoint, name + packed_suffix, count, in, type)) {
      return ops::Linear(*packed, nullptr);
    }
  }
  const TensorView& tensor = checkpoint.require(name, {tensor_rows, in});
  const std::size_t row_bytes = in * dtype_bytes(tensor.dtype);
  ops::Linear linear(tensor.bytes.subspan(first * row_bytes, count * row_bytes), tensor.dtype, count, in,
                     type);
  checkpoint.release(tensor);
  return linear;
}

TextLayerWeights load_layer(const TextConfig& config, std::size_t index, const Checkpoint& checkpoint,
                            const WeightPlan& plan) {
  const TextLayerConfig& layer = config.layers[index];
  const std::string prefix = kText + "layers." + std::to_string(index) + ".";
  const std::size_t hidden = config.hidden_size;
  const std::size_t per_layer = config.hidden_size_per_layer_input;
  const std::size_t q_size = config.num_attention_heads * layer.head_dim;
  const std::size_t kv_size = layer.num_key_value_heads * layer.head_dim;
  const auto vector = [&](const char* name, std::size_t size) {
    return load_vector(checkpoint, prefix + name + ".weight", size);
  };
  TextLayerWeights result;
  const auto linear = [&](const char* name, std::size_t out, std::size_t in, ops::WeightType type) {
    result.projections.push_back(load_linear(checkpoint, prefix + name + ".weight", out, in, type));
  };
  result.own_kv = layer.kv_layer == index;
  result.input_layernorm = vector("input_layernorm", hidden);
  result.post_attention_layernorm = vector("post_attention_layernorm", hidden);
  result.pre_feedforward_layernorm = vector("pre_feedforward_layernorm", hidden);
  result.post_feedforward_layernorm = vector("post_feedforward_layernorm", hidden);
  result.post_per_layer_input_norm = vector("post_per_layer_input_norm", hidden);
  result.q_norm = vector("self_attn.q_norm", layer.head_dim);
  linear("self_attn.q_proj", q_size, hidden, plan.layers);
  linear("self_attn.o_proj", hidden, q_size, plan.layers);
  linear("mlp.gate_proj", layer.intermediate_size, hidden, plan.layers);
  linear("mlp.up_proj", layer.intermediate_size, hidden, plan.layers);
  linear("mlp.down_proj", hidden, layer.intermediate_size, plan.layers);
  linear("per_layer_input_gate", per_layer, hidden, plan.per_layer);
  linear("per_layer_projection", hidden, per_layer, plan.per_layer);
  if (result.own_kv) {
    result.k_norm = vector("self_attn.k_norm", layer.head_dim);
    linear("self_attn.k_proj", kv_size, hidden, plan.layers);
    linear("self_attn.v_proj", kv_size, hidden, plan.layers);
  }
  result.layer_scalar = load_scalar(checkpoint, checkpoint.require(prefix + "layer_scalar"));
  return result;
}

}  // namespace

WeightPlan::WeightPlan(ops::WeightType type)
    : layers(type), per_layer(type), head(type), vision(type), audio(type) {
  if (!ops::is_quantized(type)) return;
  per_layer = ops::WeightType::int8;
  vision = ops::WeightType::int8;
  audio = ops::WeightType::int8;
  head = type == ops::WeightType::int2 ? ops::WeightType::int2 : ops::WeightType::int8;
}

ops::Linear load_linear(const Checkpoint& checkpoint, std::string_view name, std::size_t out, std::size_t in,
                        ops::WeightType type) {
  if (type != ops::WeightType::f32) {
    if (const auto packed = find_packed_matrix(checkpoint, name, out, in, type)) {
      return ops::Linear(*packed, nullptr);
    }
  }
  const TensorView& tensor = checkpoint.require(name, {out, in});
  checkpoint.advise_needed(tensor);
  ops::Linear linear(tensor.bytes, tensor.dtype, out, in, type);
  checkpoint.release(tensor);
  return linear;
}

ops::ClippedLinear load_clipped_linear(const Checkpoint& checkpoint, const std::string& prefix,
                                       std::size_t out, std::size_t in, ops::WeightType type) {
  ops::ClipBounds bounds;
  bounds.input_min = load_bound(checkpoint, prefix + ".input_min", bounds.input_min);
  bounds.input_max = load_bound(checkpoint, prefix + ".input_max", bounds.input_max);
  bounds.output_min = load_bound(checkpoint, prefix + ".output_min", bounds.output_min);
  bounds.output_max = load_bound(checkpoint, prefix + ".output_max", bounds.output_max);
  check_bounds(checkpoint, prefix + ".input", bounds.input_min, bounds.input_max);
  check_bounds(checkpoint, prefix + ".output", bounds.output_min, bounds.output_max);
  return {load_linear(checkpoint, prefix + ".linear.weight", out, in, type), bounds};
}

std::vector<float> load_vector(const Checkpoint& checkpoint, std::string_view name, std::size_t size) {
  std::vector<float> values(size);
  read_f32(checkpoint.require(name, {size}), values);
  return values;
}

std::size_t TextWeights::memory_bytes() const {
  std::size_t total = head.memory_bytes();
  const auto add = [&total](const std::vector<ops::Linear>& linears) {
    for (const ops::Linear& linear : linears) total += linear.memory_bytes();
  };
  add(per_layer_model_projection_early);
  add(per_layer_model_projection_late);
  for (const TextLayerWeights& layer : layers) add(layer.projections);
  return total;
}

TextWeights load_text_weights(const TextConfig& config, const Checkpoint& checkpoint,
                              const WeightPlan& plan) {
  const std::size_t hidden = config.hidden_size;
  const std::size_t per_layer = config.hidden_size_per_layer_input;
  const std::size_t layers = config.num_hidden_layers;
  const std::string embed = kText + "embed_tokens.weight";
  TextWeights result{
      {checkpoint, embed, config.vocab_size, hidden, hidden},
      {checkpoint, kText + "embed_tokens_per_layer.weight", config.vocab_size_per_layer_input,
       layers * per_layer, per_layer},
      load_rows(checkpoint, embed, "#head", config.vocab_size, 0, config.vocab_size, hidden, plan.head),
      {},
      {},
      {},
      {},
      {}};

  const std::size_t early = config.first_kv_shared_layer * per_layer;
  const std::size_t late = layers * per_layer - early;
  const std::string projection = kText + "per_layer_model_projection.weight";
  if (early > 0) {
    result.per_layer_model_projection_early.push_back(
        load_rows(checkpoint, projection, "#early", early + late, 0, early, hidden, plan.per_layer));
  }
  if (late > 0) {
    result.per_layer_model_projection_late.push_back(
        load_rows(checkpoint, projection, "#late", early + late, early, late, hidden, plan.per_layer));
  }
  result.per_layer_projection_norm =
      load_vector(checkpoint, kText + "per_layer_projection_norm.weight", per_layer);
  result.norm = load_vector(checkpoint, kText + "norm.weight", hidden);
  result.layers.reserve(layers);
  for (std::size_t i = 0; i < layers; ++i) result.layers.push_back(load_layer(config, i, checkpoint, plan));
  return result;
}

}  // namespace reelfolio::engine
