#include "engine/audio/audio_tensors.h"

#include <algorithm>
#include <utility>

#include "engine/audio/mel_features.h"

namespace reelfolio::engine::audio {

namespace {

class List {
 public:
  void value(const std::string& name, std::vector<std::size_t> shape) {
    tensors.push_back({name, std::move(shape), AudioTensor::Use::value});
  }
  void norm(const std::string& name, std::size_t size) { value(name + ".weight", {size}); }
  void matrix(const std::string& name, std::size_t out, std::size_t in) {
    tensors.push_back({name, {out, in}, AudioTensor::Use::matrix});
  }
  void clipped(const std::string& name, std::size_t out, std::size_t in) {
    matrix(name + ".linear.weight", out, in);
    if (!clips) return;
    for (const char* bound : {".input_min", ".input_max", ".output_min", ".output_max"}) {
      tensors.push_back({name + bound, {}, AudioTensor::Use::bound});
    }
  }

  bool clips = true;
  std::vector<AudioTensor> tensors;
};

void add_layer(List& list, const AudioConfig& audio, const std::string& layer) {
  const std::size_t hidden = audio.hidden_size;
  for (const char* feed_forward : {"feed_forward1.", "feed_forward2."}) {
    list.norm(layer + feed_forward + "pre_layer_norm", hidden);
    list.norm(layer + feed_forward + "post_layer_norm", hidden);
    list.clipped(layer + feed_forward + "ffw_layer_1", 4 * hidden, hidden);
    list.clipped(layer + feed_forward + "ffw_layer_2", hidden, 4 * hidden);
  }
  for (const char* norm : {"norm_pre_attn", "norm_post_attn", "norm_out"}) list.norm(layer + norm, hidden);
  for (const char* projection : {"q_proj", "k_proj", "v_proj", "post"}) {
    list.clipped(layer + "self_attn." + projection, hidden, hidden);
  }
  // Used once, at loading, for the few distances that attention reaches.
  list.value(layer + "self_attn.relative_k_proj.weight", {hidden, hidden});
  list.value(layer + "self_attn.per_dim_scale", {audio.head_dim()});
  list.norm(layer + "lconv1d.pre_layer_norm", hidden);
  list.norm(layer + "lconv1d.conv_norm", hidden);
  list.clipped(layer + "lconv1d.linear_start", 2 * hidden, hidden);
  list.value(layer + "lconv1d.depthwise_conv1d.weight", {hidden, 1, audio.conv_kernel_size});
  list.clipped(layer + "lconv1d.linear_end", hidden, hidden);
}

}  // namespace

std::vector<AudioTensor> audio_tensors(const ModelConfig& config) {
  const AudioConfig& audio = *config.audio;
  const std::string tower = kTowerPrefix;
  const std::string subsample = tower + "subsample_conv_projection.";
  const auto& channels = audio.subsampling_conv_channels;
  List list;
  list.clips = audio.use_clipped_linears;
  list.value(subsample + "layer0.conv.weight", {channels[0], 1, 3, 3});
  list.norm(subsample + "layer0.norm", channels[0]);
  list.value(subsample + "layer1.conv.weight", {channels[1], channels[0], 3, 3});
  list.norm(subsample + "layer1.norm", channels[1]);
  // Three thousandths of the work, and every later value rests on it.
  list.value(subsample + "input_proj_linear.weight", {audio.hidden_size, channels[1] * (kMelBins / 4)});
  for (std::size_t i = 0; i < audio.num_hidden_layers; ++i) {
    add_layer(list, audio, tower + "layers." + std::to_string(i) + ".");
  }
  list.matrix(tower + "output_proj.weight", audio.output_proj_dims, audio.hidden_size);
  list.value(tower + "output_proj.bias", {audio.output_proj_dims});
  list.matrix(kProjectionName, config.text.hidden_size, audio.output_proj_dims);
  return std::move(list.tensors);
}

bool has_audio_tower(const ModelConfig& config, const Checkpoint& checkpoint) {
  const auto tensors = checkpoint.tensors();
  return config.audio && std::any_of(tensors.begin(), tensors.end(), [](const TensorView& tensor) {
           return tensor.name.starts_with(kTowerPrefix);
         });
}

}  // namespace reelfolio::engine::audio
