#include "engine/vision/vision_tower.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "engine/error.h"
#include "engine/kernels/attention.h"
#include "engine/ops/activation.h"
#include "engine/ops/attention.h"
#include "engine/ops/clipped_linear.h"
#include "engine/ops/gather.h"
#include "engine/ops/rms_norm.h"
#include "engine/ops/rope.h"
#include "engine/packed_model.h"
#include "engine/weights.h"

namespace reelfolio::engine::vision {

namespace {

/// Patches that pass through linear layers together: what one of them writes is still in
/// cache when the next reads it, and the MLP's wide rows never exist for the whole picture.
constexpr std::size_t kChunkRows = 512;

using ops::ClippedLinear;
using ops::Linear;
using ops::WeightType;

/// Reads the tower's tensors.
class Loader {
 public:
  Loader(const Checkpoint& checkpoint, WeightType type, bool clipped)
      : checkpoint_(checkpoint), type_(type), clipped_(clipped) {}

  std::vector<float> values(const std::string& name, const std::vector<std::size_t>& shape) const {
    const TensorView& tensor = checkpoint_.require(name, shape);
    std::vector<float> result(tensor.num_elements());
    read_f32(tensor, result);
    return result;
  }

  Linear linear(const std::string& name, std::size_t out, std::size_t in, WeightType type) const {
    return load_linear(checkpoint_, name, out, in, type);
  }

  /// Integer weights promise the same bits on all processors, for which this layer's sums need an order.
  Linear patch_projection(const std::string& name, std::size_t out, std::size_t in) const {
    const TensorView& tensor = checkpoint_.require(name, {out, in});
    return Linear(tensor.bytes, tensor.dtype, out, in, WeightType::f32,
                  ops::is_quantized(type_) ? ops::Sums::in_order : ops::Sums::fastest);
  }

  ClippedLinear clipped_linear(const std::string& name, std::size_t out, std::size_t in) const {
    if (clipped_) return load_clipped_linear(checkpoint_, name, out, in, type_);
    return {linear(name + ".linear.weight", out, in, type_), {}};
  }

 private:
  const Checkpoint& checkpoint_;
  WeightType type_;
  bool clipped_;
};

struct Layer {
  Layer(const Loader& load, const VisionConfig& config, const std::string& prefix)
      : input_norm(load.values(prefix + "input_layernorm.weight", {config.hidden_size})),
        post_attention_norm(load.values(prefix + "post_attention_layernorm.weight", {config.hidden_size})),
        pre_feedforward_norm(load.values(prefix + "pre_feedforward_layernorm.weight", {config.hidden_size})),
        post_feedforward_norm(
            load.values(prefix + "post_feedforward_layernorm.weight", {config.hidden_size})),
        q_norm(load.values(prefix + "self_attn.q_norm.weight", {config.head_dim})),
        k_norm(load.values(prefix + "self_attn.k_norm.weight", {config.head_dim})),
        q_proj(load.clipped_linear(prefix + "self_attn.q_proj", heads_size(config), config.hidden_size)),
        k_proj(load.clipped_linear(prefix + "self_attn.k_proj", heads_size(config), config.hidden_size)),
        v_proj(load.clipped_linear(prefix + "self_attn.v_proj", heads_size(config), config.hidden_size)),
        o_proj(load.clipped_linear(prefix + "self_attn.o_proj", config.hidden_size, heads_size(config))),
        gate_proj(
            load.clipped_linear(prefix + "mlp.gate_proj", config.intermediate_size, config.hidden_size)),
        up_proj(load.clipped_linear(prefix + "mlp.up_proj", config.intermediate_size, config.hidden_size)),
        down_proj(
            load.clipped_linear(prefix + "mlp.down_proj", config.hidden_size, config.intermediate_size)) {}

  static std::size_t heads_size(const VisionConfig& config) {
    return config.num_attention_heads * config.head_dim;
  }

  std::vector<float> input_norm, post_attention_norm, pre_feedforward_norm, post_feedforward_norm;
  std::vector<float> q_norm, k_norm;
  ClippedLinear q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj;
};

/// Cosines and sines of the rotary embedding, [positions, head_dim / 4]. One table serves
/// columns and rows of patches: both turn with the same frequencies.
struct RotationTable {
  MatrixBuffer cosines, sines;

  RotationTable(std::size_t positions, const std::vector<float>& inverse)
      : cosines(positions, inverse.size()), sines(positions, inverse.size()) {
    for (std::size_t p = 0; p < positions; ++p) {
      for (std::size_t j = 0; j < inverse.size(); ++j) {
        const float angle = static_cast<float>(p) * inverse[j];
        cosines.row(p)[j] = std::cos(angle);
        sines.row(p)[j] = std::sin(angle);
      }
    }
  }
};

/// Turns `count` pairs x[j], x[j + count].
void rotate(float* x, const float* cosines, const float* sines, std::size_t count) {
  for (std::size_t j = 0; j < count; ++j) {
    const float u = x[j];
    const float v = x[j + count];
    x[j] = u * cosines[j] - v * sines[j];
    x[j + count] = v * cosines[j] + u * sines[j];
  }
}

/// The first half of every head turns by the patch's column, the second by its row.
/// Row r of x is patch first_patch + r.
void rotate_heads(Matrix x, std::size_t heads, const RotationTable& table, std::size_t first_patch,
                  std::size_t patch_cols) {
  const std::size_t head_dim = x.cols / heads;
  const std::size_t quarter = head_dim / 4;
#pragma omp parallel for schedule(static)
  for (std::size_t r = 0; r < x.rows; ++r) {
    const std::size_t column = (first_patch + r) % patch_cols;
    const std::size_t row = (first_patch + r) / patch_cols;
    for (std::size_t h = 0; h < heads; ++h) {
      float* head = x.data + r * x.stride + h * head_dim;
      rotate(head, table.cosines.row(column).data(), table.sines.row(column).data(), quarter);
      rotate(head + 2 * quarter, table.cosines.row(row).data(), table.sines.row(row).data(), quarter);
    }
  }
}

const VisionConfig& usable_config(const ModelConfig& config) {
  if (!config.vision) throw ModelError("config.json: 'vision_config' is missing, so images cannot be read");
  const VisionConfig& vision = *config.vision;
  const auto require = [](const char* key, std::size_t actual, const std::string& expected, bool holds) {
    if (holds) return;
    throw ModelError(std::string("config.json: 'vision_config.") + key + "' is " + std::to_string(actual) +
                     ", expected " + expected);
  };
  require("patch_size", vision.patch_size, std::to_string(kPatchSize), vision.patch_size == kPatchSize);
  require("pooling_kernel_size", vision.pooling_kernel_size, std::to_string(kPoolingSize),
          vision.pooling_kernel_size == kPoolingSize);
  require("head_dim", vision.head_dim, "a multiple of 4 up to " + std::to_string(kernels::kAttentionHeadDim),
          vision.head_dim % 4 == 0 && vision.head_dim >= 4 && vision.head_dim <= kernels::kAttentionHeadDim);
  require("num_key_value_heads", vision.num_key_value_heads, std::to_string(vision.num_attention_heads),
          vision.num_key_value_heads == vision.num_attention_heads);
  return vision;
}

constexpr const char* kTower = "model.vision_tower.";
constexpr std::size_t kPatchValues = std::size_t{kPatchSize} * kPatchSize * 3;

}  // namespace

struct VisionTower::Impl {
  Impl(const ModelConfig& model, const Checkpoint& checkpoint, WeightType type)
      : Impl(model, checkpoint, WeightPlan(type).vision,
             Loader(checkpoint, WeightPlan(type).vision, usable_config(model).use_clipped_linears)) {}

  Impl(const ModelConfig& model, const Checkpoint& checkpoint, WeightType type, const Loader& load)
      : config(*model.vision),
        text_hidden_size(model.text.hidden_size),
        // A thousandth of the work, and every later value rests on it: f32 always.
        input_proj(load.patch_projection(std::string(kTower) + "patch_embedder.input_proj.weight",
                                         config.hidden_size, kPatchValues)),
        projection(load.linear("model.embed_vision.embedding_projection.weight", text_hidden_size,
                               config.hidden_size, type)),
        attention(&kernels::best_attention_kernel(type)),
        inverse_frequencies(ops::rope_default(config.head_dim / 2, config.rope_theta).inverse) {
    const std::string tower = kTower;
    const TensorView& table = checkpoint.require(tower + "patch_embedder.position_embedding_table",
                                                 {2, config.position_embedding_size, config.hidden_size});
    position_table = table.bytes;
    position_dtype = table.dtype;
    if (packed_weights(checkpoint)) {
      checkpoint.advise_random(table);
    } else {
      owned_position_table.assign(table.bytes.begin(), table.bytes.end());
      position_table = owned_position_table;
      checkpoint.release(table);
    }
    layers.reserve(config.num_hidden_layers);
    for (std::size_t i = 0; i < config.num_hidden_layers; ++i) {
      layers.emplace_back(load, config, tower + "encoder.layers." + std::to_string(i) + ".");
    }
    if (config.standardize) {
      std_bias = load.values(tower + "std_bias", {config.hidden_size});
      std_scale = load.values(tower + "std_scale", {config.hidden_size});
    }
  }

  void check_size(const PreprocessedImage& image) const;
  void embed_patches(const PreprocessedImage& image);
  void attend(const Layer& layer, const RotationTable& table, std::size_t patch_cols);
  void finish_layer(const Layer& layer);
  void pool(const PreprocessedImage& image);
  MatrixBuffer encode(const PreprocessedImage& image, const VisionObserver& observer);

  VisionConfig config;
  std::size_t text_hidden_size;
  Linear input_proj;
  Linear projection;
  const kernels::AttentionKernel* attention;
  std::vector<float> inverse_frequencies;
  /// [2, position_embedding_size, hidden_size] in the checkpoint's type: columns, rows.
  std::span<const std::byte> position_table;
  std::vector<std::byte> owned_position_table;  ///< unless it lies in a packed model
  DType position_dtype = DType::f32;
  std::vector<Layer> layers;
  std::vector<float> std_bias, std_scale;

  void free_scratch() {
    for (MatrixBuffer* buffer : {&x, &q, &k, &v, &packed, &hidden, &branch, &gate, &up, &pooled})
      *buffer = {};
  }

  // Scratch of encode: memory that the decoder takes over. x is the residual stream, q also receives the
  // attention's result.
  MatrixBuffer x, q, k, v;
  MatrixBuffer packed;          // keys and values, for ops::attention
  MatrixBuffer hidden, branch;  // [chunk, hidden]
  MatrixBuffer gate, up;        // [chunk, intermediate]
  MatrixBuffer pooled;
};

void VisionTower::Impl::check_size(const PreprocessedImage& image) const {
  const auto entries = static_cast<int>(std::min<std::size_t>(config.position_embedding_size, 1U << 30));
  if (image.patch_cols <= entries && image.patch_rows <= entries) return;
  throw RequestError("an image of " + std::to_string(image.patch_cols) + " x " +
                     std::to_string(image.patch_rows) + " patches exceeds the " + std::to_string(entries) +
                     " positions that the model knows along each side");
}

/// x = input_proj(2 (patch - 0.5)) + table[0][column] + table[1][row]
void VisionTower::Impl::embed_patches(const PreprocessedImage& image) {
  const std::size_t size = config.hidden_size;
  const std::size_t patch_cols = image.patch_cols;
  const std::size_t patch_rows = image.patch_rows;
  MatrixBuffer positions(patch_cols + patch_rows, size);
  for (std::size_t i = 0; i < positions.rows(); ++i) {
    const std::size_t entry = i < patch_cols ? i : config.position_embedding_size + i - patch_cols;
    ops::convert_to_f32(position_table, position_dtype, entry * size, positions.row(i));
  }
  const Matrix stream = x.view();
  for (std::size_t first = 0; first < stream.rows; first += kChunkRows) {
    const std::size_t count = std::min(kChunkRows, stream.rows - first);
    branch.resize(count, kPatchValues);
#pragma omp parallel for schedule(static)
    for (std::size_t r = 0; r < count; ++r) {
      const float* patch = image.patches.row(first + r).data();
      float* centred = branch.row(r).data();
      for (std::size_t i = 0; i < kPatchValues; ++i) centred[i] = 2.0F * (patch[i] - 0.5F);
    }
    input_proj.apply(branch.view(), stream.row_block(first, count));
#pragma omp parallel for schedule(static)
    for (std::size_t r = 0; r < count; ++r) {
      float* target = stream.row(first + r).data();
      const float* column = positions.row((first + r) % patch_cols).data();
      const float* row = positions.row(patch_cols + (first + r) / patch_cols).data();
      for (std::size_t i = 0; i < size; ++i) target[i] += column[i] + row[i];
    }
  }
}

/// q = attention of RMSNorm(x), before o_proj.
void VisionTower::Impl::attend(const Layer& layer, const RotationTable& table, std::size_t patch_cols) {
  const std::size_t heads = config.num_attention_heads;
  const float eps = config.rms_norm_eps;
  for (std::size_t first = 0; first < x.rows(); first += kChunkRows) {
    const std::size_t count = std::min(kChunkRows, x.rows() - first);
    const Matrix query = q.view().row_block(first, count);
    const Matrix key = k.view().row_block(first, count);
    const Matrix value = v.view().row_block(first, count);
    hidden.resize(count, config.hidden_size);
    ops::rms_norm(x.view().row_block(first, count), layer.input_norm, eps, hidden.view());
    ops::apply_clipped(hidden.view(), std::array{ops::ClippedOutput{&layer.q_proj, query},
                                                 ops::ClippedOutput{&layer.k_proj, key},
                                                 ops::ClippedOutput{&layer.v_proj, value}});
    ops::rms_norm_heads(query, heads, layer.q_norm, eps, query);
    ops::rms_norm_heads(key, heads, layer.k_norm, eps, key);
    ops::rms_norm_heads(value, heads, {}, eps, value);
    rotate_heads(query, heads, table, first, patch_cols);
    rotate_heads(key, heads, table, first, patch_cols);
  }
  ops::attention(*attention, q.view(), k.view(), v.view(), heads, q.view(), packed);
}

/// The rest of the layer: output projection and MLP, each added to x after its norm.
void VisionTower::Impl::finish_layer(const Layer& layer) {
  const float eps = config.rms_norm_eps;
  for (std::size_t first = 0; first < x.rows(); first += kChunkRows) {
    const std::size_t count = std::min(kChunkRows, x.rows() - first);
    const Matrix stream = x.view().row_block(first, count);
    hidden.resize(count, config.hidden_size);
    branch.resize(count, config.hidden_size);
    gate.resize(count, config.intermediate_size);
    up.resize(count, config.intermediate_size);

    layer.o_proj.apply(q.view().row_block(first, count), branch.view());
    ops::rms_norm(branch.view(), layer.post_attention_norm, eps, branch.view());
    ops::add(stream, branch.view(), stream);

    ops::rms_norm(stream, layer.pre_feedforward_norm, eps, hidden.view());
    ops::apply_clipped(hidden.view(), std::array{ops::ClippedOutput{&layer.gate_proj, gate.view()},
                                                 ops::ClippedOutput{&layer.up_proj, up.view()}});
    ops::gelu_tanh_mul(gate.view(), up.view(), gate.view());
    layer.down_proj.apply(gate.view(), branch.view());
    ops::rms_norm(branch.view(), layer.post_feedforward_norm, eps, branch.view());
    ops::add(stream, branch.view(), stream);
  }
}

/// Means of 3 x 3 patches times sqrt(hidden_size), standardised where the model asks for it.
void VisionTower::Impl::pool(const PreprocessedImage& image) {
  const std::size_t size = config.hidden_size;
  const std::size_t patch_cols = image.patch_cols;
  const std::size_t token_cols = patch_cols / kPoolingSize;
  constexpr float kPatches = kPoolingSize * kPoolingSize;
  const float factor = std::sqrt(static_cast<float>(size));
  pooled.resize(image.soft_tokens(), size);
#pragma omp parallel for schedule(static)
  for (std::size_t token = 0; token < pooled.rows(); ++token) {
    float* target = pooled.row(token).data();
    std::fill_n(target, size, 0.0F);
    const std::size_t corner =
        token / token_cols * kPoolingSize * patch_cols + token % token_cols * kPoolingSize;
    for (std::size_t dy = 0; dy < kPoolingSize; ++dy) {
      for (std::size_t dx = 0; dx < kPoolingSize; ++dx) {
        const float* patch = x.row(corner + dy * patch_cols + dx).data();
        for (std::size_t i = 0; i < size; ++i) target[i] += patch[i];
      }
    }
    for (std::size_t i = 0; i < size; ++i) target[i] = target[i] / kPatches * factor;
    if (config.standardize) {
      for (std::size_t i = 0; i < size; ++i) target[i] = (target[i] - std_bias[i]) * std_scale[i];
    }
  }
}

MatrixBuffer VisionTower::Impl::encode(const PreprocessedImage& image, const VisionObserver& observer) {
  check_size(image);
  const std::size_t patches = image.patches.rows();
  assert(patches == static_cast<std::size_t>(image.patch_cols) * image.patch_rows && patches > 0);
  assert(image.patches.cols() == kPatchValues);
  assert(image.patch_cols % kPoolingSize == 0 && image.patch_rows % kPoolingSize == 0);
  const std::size_t heads_size = Layer::heads_size(config);
  // Also where the work is given up.
  struct FreeScratch {
    Impl& impl;
    ~FreeScratch() { impl.free_scratch(); }
  } const free{*this};
  x.resize(patches, config.hidden_size);
  for (MatrixBuffer* buffer : {&q, &k, &v}) buffer->resize(patches, heads_size);

  const auto observe = [&observer](const std::string& name, const MatrixBuffer& values) {
    if (observer) observer(name, values.view());
  };
  embed_patches(image);
  observe("patch_embed", x);
  const RotationTable table(std::max(image.patch_cols, image.patch_rows), inverse_frequencies);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    attend(layers[i], table, image.patch_cols);
    finish_layer(layers[i]);
    observe("layer." + std::to_string(i), x);
  }
  pool(image);
  observe("pooled", pooled);

  // The embedder's norm has the same eps as the tower's, and no weight.
  ops::rms_norm(pooled.view(), {}, config.rms_norm_eps, pooled.view());
  MatrixBuffer soft_tokens(pooled.rows(), text_hidden_size);
  projection.apply(pooled.view(), soft_tokens.view());
  return soft_tokens;
}

VisionTower::VisionTower(const ModelConfig& config, const Checkpoint& checkpoint, ops::WeightType type)
    : impl_(std::make_unique<Impl>(config, checkpoint, type)) {}
VisionTower::VisionTower(VisionTower&&) noexcept = default;
VisionTower& VisionTower::operator=(VisionTower&&) noexcept = default;
VisionTower::~VisionTower() = default;

std::size_t VisionTower::memory_bytes() const {
  std::size_t total = impl_->input_proj.memory_bytes() + impl_->projection.memory_bytes();
  for (const Layer& layer : impl_->layers) {
    for (const ClippedLinear* linear : {&layer.q_proj, &layer.k_proj, &layer.v_proj, &layer.o_proj,
                                        &layer.gate_proj, &layer.up_proj, &layer.down_proj}) {
      total += linear->memory_bytes();
    }
  }
  return total;
}

void VisionTower::check_size(const PreprocessedImage& image) const {
  impl_->check_size(image);
}

MatrixBuffer VisionTower::encode(const PreprocessedImage& image, const VisionObserver& observer) const {
  return impl_->encode(image, observer);
}

}  // namespace reelfolio::engine::vision
