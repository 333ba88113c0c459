#include "engine/audio/audio_tower.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "engine/audio/audio_tensors.h"
#include "engine/audio/local_attention.h"
#include "engine/audio/mel_features.h"
#include "engine/audio/subsampling.h"
#include "engine/error.h"
#include "engine/kernels/row_kernels.h"
#include "engine/ops/clipped_linear.h"
#include "engine/ops/rms_norm.h"
#include "engine/packed_model.h"
#include "engine/weights.h"

namespace reelfolio::engine::audio {

namespace {

using ops::ClippedLinear;
using ops::WeightType;

/// Positions that pass through the wide layers together: 30 seconds in two halves, whose inner rows stay
/// in cache.
constexpr std::size_t kChunkRows = 384;

const AudioConfig& usable_config(const ModelConfig& config) {
  if (!config.audio) throw ModelError("config.json: 'audio_config' is missing, so sound cannot be heard");
  const AudioConfig& audio = *config.audio;
  const auto require = [](const char* key, std::size_t actual, const std::string& expected, bool holds) {
    if (holds) return;
    throw ModelError(std::string("config.json: 'audio_config.") + key + "' is " + std::to_string(actual) +
                     ", expected " + expected);
  };
  const std::size_t distances = audio.attention_context_left - 1;
  require("hidden_size", audio.hidden_size, "an even number", audio.hidden_size % 2 == 0);
  require("attention_context_left", audio.attention_context_left,
          "2 to " + std::to_string(kMostDistances + 1), distances >= 1 && distances <= kMostDistances);
  // The release counts distances from the middle of a chunk and its context: they are the true ones where
  // both are equally long.
  require("attention_chunk_size", audio.attention_chunk_size,
          "attention_context_left - 1, " + std::to_string(distances),
          audio.attention_chunk_size == distances);
  require("attention_context_right", audio.attention_context_right, "0", audio.attention_context_right == 0);
  return audio;
}

/// [distances, hidden_size]: sines, then cosines, of the distance times frequencies that fall
/// geometrically from 1 to 1 / 10000.
MatrixBuffer distance_codes(std::size_t distances, std::size_t hidden_size) {
  const std::size_t frequencies = hidden_size / 2;
  const double step = std::log(10000.0) / static_cast<double>(std::max<std::size_t>(frequencies - 1, 1));
  MatrixBuffer codes(distances, hidden_size);
  for (std::size_t d = 0; d < distances; ++d) {
    for (std::size_t j = 0; j < frequencies; ++j) {
      const double angle = static_cast<double>(d) * std::exp(-step * static_cast<double>(j));
      codes.row(d)[j] = static_cast<float>(std::sin(angle));
      codes.row(d)[frequencies + j] = static_cast<float>(std::cos(angle));
    }
  }
  return codes;
}

/// Reads the tower's tensors.
struct Loader {
  const AudioConfig& config;
  const Checkpoint& checkpoint;
  WeightType type;

  std::vector<float> norm(const std::string& name) const {
    return load_vector(checkpoint, name + ".weight", config.hidden_size);
  }
  ClippedLinear clipped(const std::string& name, std::size_t out, std::size_t in) const {
    if (config.use_clipped_linears) return load_clipped_linear(checkpoint, name, out, in, type);
    return {load_linear(checkpoint, name + ".linear.weight", out, in, type), {}};
  }
};

struct FeedForward {
  FeedForward(const Loader& load, const std::string& name)
      : pre_norm(load.norm(name + "pre_layer_norm")),
        post_norm(load.norm(name + "post_layer_norm")),
        expand(load.clipped(name + "ffw_layer_1", 4 * load.config.hidden_size, load.config.hidden_size)),
        contract(load.clipped(name + "ffw_layer_2", load.config.hidden_size, 4 * load.config.hidden_size)) {
    for (float& weight : post_norm) weight *= load.config.residual_weight;
  }

  std::vector<float> pre_norm;
  std::vector<float> post_norm;  ///< times residual_weight
  ClippedLinear expand, contract;
};

struct SelfAttention {
  SelfAttention(const Loader& load, const std::string& name, const MatrixBuffer& codes)
      : q_proj(projection(load, name + "q_proj")),
        k_proj(projection(load, name + "k_proj")),
        v_proj(projection(load, name + "v_proj")),
        post(projection(load, name + "post")) {
    const std::size_t head_dim = load.config.head_dim();
    const std::size_t heads = load.config.num_attention_heads;
    constexpr double kLn2 = std::numbers::ln2;
    const std::vector<float> scales = load_vector(load.checkpoint, name + "per_dim_scale", head_dim);
    for (std::size_t h = 0; h < heads; ++h) {
      for (const float scale : scales) {
        // softplus without overflow
        const double x = scale;
        const double softplus = std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
        q_scale.push_back(static_cast<float>(softplus / std::sqrt(static_cast<double>(head_dim)) / kLn2));
      }
    }
    k_scale = static_cast<float>(std::log1p(std::numbers::e) / kLn2);

    const ops::Linear relative =
        load_linear(load.checkpoint, name + "relative_k_proj.weight", load.config.hidden_size,
                    load.config.hidden_size, WeightType::f32);
    MatrixBuffer keys(codes.rows(), load.config.hidden_size);
    relative.apply(codes.view(), keys.view());
    relative_keys.resize(heads * codes.rows(), head_dim);
    for (std::size_t h = 0; h < heads; ++h) {
      for (std::size_t d = 0; d < codes.rows(); ++d) {
        const auto source = keys.row(d).subspan(h * head_dim, head_dim);
        std::copy(source.begin(), source.end(), relative_keys.row(h * codes.rows() + d).begin());
      }
    }
  }

  static ClippedLinear projection(const Loader& load, const std::string& name) {
    return load.clipped(name, load.config.hidden_size, load.config.hidden_size);
  }

  ClippedLinear q_proj, k_proj, v_proj, post;
  std::vector<float> q_scale;  ///< [hidden_size]
  float k_scale = 1.0F;
  MatrixBuffer relative_keys;  ///< [heads * distances, head_dim]
};

struct LightConvolution {
  LightConvolution(const Loader& load, const std::string& name)
      : pre_norm(load.norm(name + "pre_layer_norm")),
        conv_norm(load.norm(name + "conv_norm")),
        linear_start(
            load.clipped(name + "linear_start", 2 * load.config.hidden_size, load.config.hidden_size)),
        linear_end(load.clipped(name + "linear_end", load.config.hidden_size, load.config.hidden_size)),
        taps(load.config.conv_kernel_size, load.config.hidden_size) {
    const std::size_t channels = taps.cols();
    std::vector<float> kernel(channels * taps.rows());
    read_f32(load.checkpoint.require(name + "depthwise_conv1d.weight", {channels, 1, taps.rows()}), kernel);
    for (std::size_t c = 0; c < channels; ++c) {
      for (std::size_t tap = 0; tap < taps.rows(); ++tap) taps.row(tap)[c] = kernel[c * taps.rows() + tap];
    }
  }

  std::vector<float> pre_norm, conv_norm;
  ClippedLinear linear_start, linear_end;
  MatrixBuffer taps;  ///< [conv_kernel_size, hidden_size], the oldest position first
};

struct Layer {
  Layer(const Loader& load, const std::string& name, const MatrixBuffer& codes)
      : feed_forward1(load, name + "feed_forward1."),
        feed_forward2(load, name + "feed_forward2."),
        norm_pre_attn(load.norm(name + "norm_pre_attn")),
        norm_post_attn(load.norm(name + "norm_post_attn")),
        norm_out(load.norm(name + "norm_out")),
        attention(load, name + "self_attn.", codes),
        convolution(load, name + "lconv1d.") {}

  FeedForward feed_forward1, feed_forward2;
  std::vector<float> norm_pre_attn, norm_post_attn, norm_out;
  SelfAttention attention;
  LightConvolution convolution;
};

/// One row at a time, so that all that happens to it between two products happens in the nearest cache.
class RowSteps {
 public:
  explicit RowSteps(const AudioConfig& config)
      : gradient_(config.gradient_clipping), eps_(config.rms_norm_eps) {}

  void clip_input(const ClippedLinear& next, float* x, std::size_t size) const {
    kernel_.clamp(x, next.bounds().input_min, next.bounds().input_max, x, size);
  }
  void clip_output(const ClippedLinear& last, float* x, std::size_t size) const {
    kernel_.clamp(x, last.bounds().output_min, last.bounds().output_max, x, size);
  }
  /// y = RMSNorm(x) * weight
  void norm(const float* x, const std::vector<float>& weight, float* y) const {
    const std::size_t size = weight.size();
    const float mean = kernel_.sum_of_squares(x, size) / static_cast<float>(size);
    kernel_.scale_by(x, 1.0F / std::sqrt(mean + eps_), weight.data(), y, size);
  }
  /// y = RMSNorm(clip x) * weight
  void clipped_norm(const float* x, const std::vector<float>& weight, float* y) const {
    kernel_.clamp(x, -gradient_, gradient_, y, weight.size());
    norm(y, weight, y);
  }
  const kernels::RowKernels& kernel() const { return kernel_; }

 private:
  const kernels::RowKernels& kernel_ = kernels::row_kernels();
  float gradient_;
  float eps_;
};

/// f(r) for each row, spread over the threads.
template <class F>
void each_row(std::size_t rows, F f) {
#pragma omp parallel for schedule(static)
  for (std::size_t r = 0; r < rows; ++r) f(r);
}

/// Rows [first, first + count) of every matrix, chunk by chunk.
template <class F>
void each_chunk(std::size_t rows, F f) {
  for (std::size_t first = 0; first < rows; first += kChunkRows) f(first, std::min(kChunkRows, rows - first));
}

}  // namespace

struct AudioTower::Impl {
  Impl(const ModelConfig& model, const Checkpoint& checkpoint, WeightType type)
      : Impl(model, checkpoint, Loader{usable_config(model), checkpoint, WeightPlan(type).audio}) {}

  Impl(const ModelConfig& model, const Checkpoint& checkpoint, const Loader& load)
      : config(*model.audio),
        attention_shape{config.num_attention_heads, config.head_dim(), config.attention_context_left - 1,
                        config.attention_logit_cap},
        subsampling(config, checkpoint),
        output_proj(load_linear(checkpoint, std::string(kTowerPrefix) + "output_proj.weight",
                                config.output_proj_dims, config.hidden_size, load.type)),
        output_bias(
            load_vector(checkpoint, std::string(kTowerPrefix) + "output_proj.bias", config.output_proj_dims)),
        projection(load_linear(checkpoint, kProjectionName, model.text.hidden_size, config.output_proj_dims,
                               load.type)) {
    const MatrixBuffer codes = distance_codes(attention_shape.distances, config.hidden_size);
    layers.reserve(config.num_hidden_layers);
    for (std::size_t i = 0; i < config.num_hidden_layers; ++i) {
      layers.emplace_back(load, std::string(kTowerPrefix) + "layers." + std::to_string(i) + ".", codes);
    }
  }

  void feed_forward(const FeedForward& block);
  /// Leaves the branch, before its norm, in `branch`.
  void attend(const Layer& layer);
  void convolve(const LightConvolution& block);
  MatrixBuffer encode(ConstMatrix features, const AudioObserver& observer);

  AudioConfig config;
  LocalAttention attention_shape;
  Subsampling subsampling;
  ops::Linear output_proj;
  std::vector<float> output_bias;
  ops::Linear projection;
  std::vector<Layer> layers;

  // Scratch of encode: [positions, hidden] but for `wide`. x is the residual stream.
  MatrixBuffer x, hidden, branch;
  MatrixBuffer q, k, v;  // v also takes the gated rows of the convolution
  MatrixBuffer wide;     // [chunk, 4 * hidden]
  MatrixBuffer tower;
};

/// x += residual_weight * RMSNorm(clip(contract(silu(expand(RMSNorm(clip x))))))
void AudioTower::Impl::feed_forward(const FeedForward& block) {
  const RowSteps steps(config);
  const std::size_t size = config.hidden_size;
  const std::size_t wide_size = 4 * size;
  each_chunk(x.rows(), [&](std::size_t first, std::size_t count) {
    const Matrix rows = hidden.view().row_block(first, count);
    wide.resize(count, wide_size);
    each_row(count, [&](std::size_t r) {
      float* row = rows.row(r).data();
      steps.clipped_norm(x.row(first + r).data(), block.pre_norm, row);
      steps.clip_input(block.expand, row, size);
    });
    block.expand.linear().apply(rows, wide.view());
    each_row(count, [&](std::size_t r) {
      float* row = wide.row(r).data();
      steps.clip_output(block.expand, row, wide_size);
      steps.kernel().silu(row, row, wide_size);
      steps.clip_input(block.contract, row, wide_size);
    });
    block.contract.linear().apply(wide.view(), rows);
    each_row(count, [&](std::size_t r) {
      float* row = rows.row(r).data();
      steps.clip_output(block.contract, row, size);
      steps.clipped_norm(row, block.post_norm, row);
      steps.kernel().add(row, x.row(first + r).data(), size);
    });
  });
}

void AudioTower::Impl::attend(const Layer& layer) {
  const RowSteps steps(config);
  const SelfAttention& block = layer.attention;
  const std::size_t size = config.hidden_size;
  each_row(x.rows(), [&](std::size_t r) {
    steps.clipped_norm(x.row(r).data(), layer.norm_pre_attn, hidden.row(r).data());
  });
  const ops::ClippedOutput projections[] = {
      {&block.q_proj, q.view()}, {&block.k_proj, k.view()}, {&block.v_proj, v.view()}};
  ops::apply_clipped(hidden.view(), projections);
  each_row(x.rows(), [&](std::size_t r) {
    steps.kernel().scale_by(q.row(r).data(), 1.0F, block.q_scale.data(), q.row(r).data(), size);
    steps.kernel().scale_by(k.row(r).data(), block.k_scale, nullptr, k.row(r).data(), size);
  });
  local_attention(attention_shape, q.view(), k.view(), v.view(), block.relative_keys.view(), q.view());
  block.post.apply(q.view(), branch.view());
}

void AudioTower::Impl::convolve(const LightConvolution& block) {
  const RowSteps steps(config);
  const std::size_t channels = config.hidden_size;
  each_chunk(x.rows(), [&](std::size_t first, std::size_t count) {
    const Matrix rows = hidden.view().row_block(first, count);
    wide.resize(count, 2 * channels);
    each_row(count, [&](std::size_t r) {
      float* row = rows.row(r).data();
      steps.norm(x.row(first + r).data(), block.pre_norm, row);
      steps.clip_input(block.linear_start, row, channels);
    });
    block.linear_start.linear().apply(rows, wide.view());
    each_row(count, [&](std::size_t r) {
      float* values = wide.row(r).data();
      float* gate = values + channels;
      steps.clip_output(block.linear_start, values, 2 * channels);
      steps.kernel().sigmoid(gate, gate, channels);
      steps.kernel().scale_by(values, 1.0F, gate, v.row(first + r).data(), channels);
    });
  });
  const std::size_t taps = block.taps.rows();
  each_row(x.rows(), [&](std::size_t t) {
    float* row = hidden.row(t).data();
    std::fill_n(row, channels, 0.0F);
    for (std::size_t tap = taps - std::min(taps, t + 1); tap < taps; ++tap) {
      const float* weight = block.taps.row(tap).data();
      const float* source = v.row(t + 1 + tap - taps).data();
      for (std::size_t c = 0; c < channels; ++c) row[c] += weight[c] * source[c];
    }
    steps.clipped_norm(row, block.conv_norm, row);
    steps.kernel().silu(row, row, channels);
    steps.clip_input(block.linear_end, row, channels);
  });
  block.linear_end.linear().apply(hidden.view(), branch.view());
  each_row(x.rows(), [&](std::size_t r) {
    float* row = branch.row(r).data();
    steps.clip_output(block.linear_end, row, channels);
    steps.kernel().add(row, x.row(r).data(), channels);
  });
}

MatrixBuffer AudioTower::Impl::encode(ConstMatrix features, const AudioObserver& observer) {
  assert(features.rows > 0 && features.cols == kMelBins);
  const auto observe = [&observer](const std::string& name, const MatrixBuffer& values) {
    if (observer) observer(name, values.view());
  };
  const RowSteps steps(config);
  subsampling.apply(features, x);
  observe("subsample", x);
  for (MatrixBuffer* buffer : {&hidden, &branch, &q, &k, &v}) buffer->resize(x.rows(), config.hidden_size);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const Layer& layer = layers[i];
    const std::string name = "layer." + std::to_string(i);
    feed_forward(layer.feed_forward1);
    observe(name + ".ffw1", x);
    attend(layer);
    observe(name + ".attn", branch);
    each_row(x.rows(), [&](std::size_t r) {
      steps.clipped_norm(branch.row(r).data(), layer.norm_post_attn, branch.row(r).data());
      steps.kernel().add(branch.row(r).data(), x.row(r).data(), x.cols());
    });
    convolve(layer.convolution);
    observe(name + ".lconv", x);
    feed_forward(layer.feed_forward2);
    observe(name + ".ffw2", x);
    each_row(x.rows(),
             [&](std::size_t r) { steps.clipped_norm(x.row(r).data(), layer.norm_out, x.row(r).data()); });
    observe(name, x);
  }
  tower.resize(x.rows(), config.output_proj_dims);
  output_proj.apply(x.view(), tower.view());
  each_row(tower.rows(),
           [&](std::size_t r) { steps.kernel().add(output_bias.data(), tower.row(r).data(), tower.cols()); });
  observe("tower", tower);
  // The embedder's norm has the same eps as the tower's, and no weight.
  ops::rms_norm(tower.view(), {}, config.rms_norm_eps, tower.view());
  MatrixBuffer soft_tokens(tower.rows(), projection.out_size());
  projection.apply(tower.view(), soft_tokens.view());
  return soft_tokens;
}

void AudioTower::check(const ModelConfig& config, const Checkpoint& checkpoint, ops::WeightType type) {
  usable_config(config);
  for (const AudioTensor& tensor : audio_tensors(config)) {
    if (tensor.use == AudioTensor::Use::bound) continue;  // may be missing; the loader reads what is there
    const bool packs = tensor.use == AudioTensor::Use::matrix && type != ops::WeightType::f32;
    if (packs && find_packed_matrix(checkpoint, tensor.name, tensor.shape[0], tensor.shape[1],
                                    WeightPlan(type).audio)) {
      continue;
    }
    checkpoint.require(tensor.name, tensor.shape);
  }
}

AudioTower::AudioTower(const ModelConfig& config, const Checkpoint& checkpoint, ops::WeightType type)
    : impl_(std::make_unique<Impl>(config, checkpoint, type)) {}
AudioTower::AudioTower(AudioTower&&) noexcept = default;
AudioTower& AudioTower::operator=(AudioTower&&) noexcept = default;
AudioTower::~AudioTower() = default;

MatrixBuffer AudioTower::encode(ConstMatrix features, const AudioObserver& observer) const {
  return impl_->encode(features, observer);
}

std::size_t AudioTower::memory_bytes() const {
  std::size_t total = impl_->output_proj.memory_bytes() + impl_->projection.memory_bytes();
  for (const Layer& layer : impl_->layers) {
    for (const ClippedLinear* linear :
         {&layer.feed_forward1.expand, &layer.feed_forward1.contract, &layer.feed_forward2.expand,
          &layer.feed_forward2.contract, &layer.attention.q_proj, &layer.attention.k_proj,
          &layer.attention.v_proj, &layer.attention.post, &layer.convolution.linear_start,
          &layer.convolution.linear_end}) {
      total += linear->memory_bytes();
    }
  }
  return total;
}

}  // namespace reelfolio::engine::audio
