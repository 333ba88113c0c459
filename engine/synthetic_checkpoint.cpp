#include "engine/synthetic_checkpoint.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>
#include <vector>

namespace reelfolio::engine {

namespace {

constexpr std::size_t kDeviateBytes = std::size_t{64} << 20;
constexpr std::size_t kElementBytes = 2;
constexpr std::size_t kCheckpointAlignment = 64;
constexpr float kDeviation = 0.02F;
/// Dot products of normed queries and keys have a deviation of norm weight^2 * sqrt(head_dim):
/// between 0.5 and 1.5 for heads of 64 to 512.
constexpr float kHeadNorm = 0.25F;

std::size_t round_up(std::size_t size, std::size_t step) {
  return (size + step - 1) / step * step;
}

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

/// Addresses that show the bytes of one block over and over, for the object's lifetime. Shared
/// memory rather than anonymous: pages given back with MADV_DONTNEED come again with their contents.
class RepeatedBlock {
 public:
  /// Both sizes are above 0. `write` fills the block.
  template <class Write>
  RepeatedBlock(std::size_t block_bytes, std::size_t total_bytes, Write write) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t block = round_up(block_bytes, page);
    size_ = round_up(total_bytes, block);
    const int fd = ::memfd_create("reelfolio-weights", MFD_CLOEXEC);
    if (fd < 0) fail("memfd_create");
    const auto give_up = [&](const char* what) {
      const int error = errno;
      ::close(fd);
      if (data_ != nullptr) ::munmap(data_, size_);
      errno = error;
      fail(what);
    };
    if (::ftruncate(fd, static_cast<off_t>(block)) != 0) give_up("ftruncate");
    void* range = ::mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) give_up("mmap");
    data_ = static_cast<std::byte*>(range);
    for (std::size_t at = 0; at < size_; at += block) {
      const int access = at == 0 ? PROT_READ | PROT_WRITE : PROT_READ;
      if (::mmap(data_ + at, block, access, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) give_up("mmap");
    }
    ::close(fd);
    write(std::span(data_, block));
    ::mprotect(data_, block, PROT_READ);
    ::madvise(data_, block, MADV_DONTNEED);
  }
  RepeatedBlock(const RepeatedBlock&) = delete;
  RepeatedBlock& operator=(const RepeatedBlock&) = delete;
  ~RepeatedBlock() { ::munmap(data_, size_); }

  const std::byte* data() const { return data_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

struct Memory {
  RepeatedBlock matrices;
  RepeatedBlock constants;
};

void store(std::byte* target, float value) {
  const std::uint16_t bits = f32_to_bf16(value);
  std::memcpy(target, &bits, sizeof bits);
}

/// Near enough to normal: the sum of four uniform numbers.
void write_deviates(std::span<std::byte> block) {
  const float unit = kDeviation * std::sqrt(3.0F) / 65536.0F;
  std::uint64_t state = 1;
  for (std::size_t at = 0; at + kElementBytes <= block.size(); at += kElementBytes) {
    // splitmix64 (Steele, Lea & Flood 2014)
    std::uint64_t z = state += 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    z ^= z >> 31;
    const auto sum =
        static_cast<int>((z & 0xFFFF) + (z >> 16 & 0xFFFF) + (z >> 32 & 0xFFFF) + (z >> 48 & 0xFFFF));
    store(block.data() + at, static_cast<float>(sum - 2 * 0xFFFF) * unit);
  }
}

/// Names and shapes, in the order of gemma4.md, section 2.
class TensorList {
 public:
  struct Entry {
    std::string name;
    std::vector<std::size_t> shape;
    std::optional<float> constant;  ///< empty: deviates

    std::size_t bytes() const {
      std::size_t bytes = kElementBytes;
      for (const std::size_t size : shape) bytes *= size;
      return bytes;
    }
  };

  explicit TensorList(const ModelConfig& config) {
    add_text(config.text);
    if (config.vision) add_vision(*config.vision, config.text.hidden_size);
    if (config.audio) add_audio(*config.audio, config.text.hidden_size);
  }

  const std::vector<Entry>& entries() const { return entries_; }

 private:
  void matrix(const std::string& name, std::vector<std::size_t> shape) {
    entries_.push_back({name, std::move(shape), std::nullopt});
  }
  void constant(const std::string& name, std::vector<std::size_t> shape, float value) {
    entries_.push_back({name, std::move(shape), value});
  }
  void norm(const std::string& name, std::size_t size) { constant(name + ".weight", {size}, 1.0F); }
  void clipped(const std::string& name, std::size_t out, std::size_t in) {
    matrix(name + ".linear.weight", {out, in});
    for (const char* side : {".input", ".output"}) {
      constant(name + side + "_min", {}, -64.0F);
      constant(name + side + "_max", {}, 64.0F);
    }
  }

  void add_text(const TextConfig& text);
  void add_vision(const VisionConfig& vision, std::size_t text_hidden);
  void add_audio(const AudioConfig& audio, std::size_t text_hidden);

  std::vector<Entry> entries_;
};

void TensorList::add_text(const TextConfig& text) {
  const std::string prefix = "model.language_model.";
  const std::size_t hidden = text.hidden_size;
  const std::size_t per_layer = text.hidden_size_per_layer_input;
  const std::size_t all_layers = text.num_hidden_layers * per_layer;
  matrix(prefix + "embed_tokens.weight", {text.vocab_size, hidden});
  matrix(prefix + "embed_tokens_per_layer.weight", {text.vocab_size_per_layer_input, all_layers});
  matrix(prefix + "per_layer_model_projection.weight", {all_layers, hidden});
  norm(prefix + "per_layer_projection_norm", per_layer);
  norm(prefix + "norm", hidden);
  for (std::size_t i = 0; i < text.num_hidden_layers; ++i) {
    const TextLayerConfig& shape = text.layers[i];
    const std::string layer = prefix + "layers." + std::to_string(i) + ".";
    const std::size_t q_size = text.num_attention_heads * shape.head_dim;
    const std::size_t kv_size = shape.num_key_value_heads * shape.head_dim;
    for (const char* name : {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                             "post_feedforward_layernorm", "post_per_layer_input_norm"}) {
      norm(layer + name, hidden);
    }
    matrix(layer + "self_attn.q_proj.weight", {q_size, hidden});
    matrix(layer + "self_attn.o_proj.weight", {hidden, q_size});
    constant(layer + "self_attn.q_norm.weight", {shape.head_dim}, kHeadNorm);
    if (shape.kv_layer == i) {
      matrix(layer + "self_attn.k_proj.weight", {kv_size, hidden});
      matrix(layer + "self_attn.v_proj.weight", {kv_size, hidden});
      constant(layer + "self_attn.k_norm.weight", {shape.head_dim}, kHeadNorm);
    }
    matrix(layer + "mlp.gate_proj.weight", {shape.intermediate_size, hidden});
    matrix(layer + "mlp.up_proj.weight", {shape.intermediate_size, hidden});
    matrix(layer + "mlp.down_proj.weight", {hidden, shape.intermediate_size});
    matrix(layer + "per_layer_input_gate.weight", {per_layer, hidden});
    matrix(layer + "per_layer_projection.weight", {hidden, per_layer});
    // Each layer adds three normed branches; with a factor of 0.7 the stream stays near 4.
    constant(layer + "layer_scalar", {1}, 0.7F);
  }
}

void TensorList::add_vision(const VisionConfig& vision, std::size_t text_hidden) {
  const std::string prefix = "model.vision_tower.";
  const std::size_t hidden = vision.hidden_size;
  const std::size_t heads = vision.num_attention_heads * vision.head_dim;
  matrix(prefix + "patch_embedder.input_proj.weight", {hidden, vision.patch_size * vision.patch_size * 3});
  matrix(prefix + "patch_embedder.position_embedding_table", {2, vision.position_embedding_size, hidden});
  for (std::size_t i = 0; i < vision.num_hidden_layers; ++i) {
    const std::string layer = prefix + "encoder.layers." + std::to_string(i) + ".";
    for (const char* name : {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                             "post_feedforward_layernorm"}) {
      norm(layer + name, hidden);
    }
    for (const char* name : {"q_proj", "k_proj", "v_proj"})
      clipped(layer + "self_attn." + name, heads, hidden);
    clipped(layer + "self_attn.o_proj", hidden, heads);
    for (const char* name : {"q_norm", "k_norm"}) {
      constant(layer + "self_attn." + name + ".weight", {vision.head_dim}, kHeadNorm);
    }
    clipped(layer + "mlp.gate_proj", vision.intermediate_size, hidden);
    clipped(layer + "mlp.up_proj", vision.intermediate_size, hidden);
    clipped(layer + "mlp.down_proj", hidden, vision.intermediate_size);
  }
  matrix("model.embed_vision.embedding_projection.weight", {text_hidden, hidden});
}

void TensorList::add_audio(const AudioConfig& audio, std::size_t text_hidden) {
  const std::string prefix = "model.audio_tower.";
  const std::string subsample = prefix + "subsample_conv_projection.";
  const std::size_t hidden = audio.hidden_size;
  const auto& channels = audio.subsampling_conv_channels;
  constexpr std::size_t kMelBins = 128;  // halved by each of two convolutions
  matrix(subsample + "layer0.conv.weight", {channels[0], 1, 3, 3});
  norm(subsample + "layer0.norm", channels[0]);
  matrix(subsample + "layer1.conv.weight", {channels[1], channels[0], 3, 3});
  norm(subsample + "layer1.norm", channels[1]);
  matrix(subsample + "input_proj_linear.weight", {hidden, channels[1] * (kMelBins / 4)});
  for (std::size_t i = 0; i < audio.num_hidden_layers; ++i) {
    const std::string layer = prefix + "layers." + std::to_string(i) + ".";
    for (const char* name : {"feed_forward1.", "feed_forward2."}) {
      clipped(layer + name + "ffw_layer_1", 4 * hidden, hidden);
      clipped(layer + name + "ffw_layer_2", hidden, 4 * hidden);
      norm(layer + name + "pre_layer_norm", hidden);
      norm(layer + name + "post_layer_norm", hidden);
    }
    for (const char* name : {"norm_pre_attn", "norm_post_attn", "norm_out"}) norm(layer + name, hidden);
    for (const char* name : {"q_proj", "k_proj", "v_proj", "post"}) {
      clipped(layer + "self_attn." + name, hidden, hidden);
    }
    matrix(layer + "self_attn.relative_k_proj.weight", {hidden, hidden});
    constant(layer + "self_attn.per_dim_scale", {audio.head_dim()}, 0.1F);
    norm(layer + "lconv1d.pre_layer_norm", hidden);
    norm(layer + "lconv1d.conv_norm", hidden);
    clipped(layer + "lconv1d.linear_start", 2 * hidden, hidden);
    // One weight for each of five taps and channels: deviates of 0.02 would all but silence it.
    constant(layer + "lconv1d.depthwise_conv1d.weight", {hidden, 1, audio.conv_kernel_size}, 0.4F);
    clipped(layer + "lconv1d.linear_end", hidden, hidden);
  }
  matrix(prefix + "output_proj.weight", {audio.output_proj_dims, hidden});
  constant(prefix + "output_proj.bias", {audio.output_proj_dims}, 0.02F);
  matrix("model.embed_audio.embedding_projection.weight", {text_hidden, audio.output_proj_dims});
}

SyntheticShape e4b() {
  SyntheticShape shape;
  shape.name = "e4b";
  shape.hidden_size = 2560;
  shape.num_hidden_layers = 42;
  shape.layer_pattern = 6;
  shape.intermediate_size = 10240;
  shape.num_key_value_heads = 2;
  shape.num_kv_shared_layers = 18;
  return shape;
}

SyntheticShape e2b() {
  SyntheticShape shape;
  shape.name = "e2b";
  shape.hidden_size = 1536;
  shape.num_hidden_layers = 35;
  shape.layer_pattern = 5;
  shape.intermediate_size = 6144;
  shape.use_double_wide_mlp = true;
  shape.num_key_value_heads = 1;
  shape.num_kv_shared_layers = 20;
  return shape;
}

}  // namespace

std::optional<SyntheticShape> find_synthetic_shape(std::string_view name) {
  if (name == "e4b") return e4b();
  if (name == "e2b") return e2b();
  return std::nullopt;
}

ModelConfig synthetic_config(const SyntheticShape& shape) {
  using nlohmann::json;
  json layer_types = json::array();
  for (std::size_t i = 1; i <= shape.num_hidden_layers; ++i) {
    layer_types.push_back(i % shape.layer_pattern == 0 ? "full_attention" : "sliding_attention");
  }
  const json text = {
      {"vocab_size", shape.vocab_size},
      {"vocab_size_per_layer_input", shape.vocab_size},
      {"hidden_size", shape.hidden_size},
      {"num_hidden_layers", shape.num_hidden_layers},
      {"layer_types", layer_types},
      {"intermediate_size", shape.intermediate_size},
      {"use_double_wide_mlp", shape.use_double_wide_mlp},
      {"num_attention_heads", shape.num_attention_heads},
      {"num_key_value_heads", shape.num_key_value_heads},
      {"head_dim", shape.head_dim},
      {"global_head_dim", shape.global_head_dim},
      {"num_kv_shared_layers", shape.num_kv_shared_layers},
      {"hidden_size_per_layer_input", shape.hidden_size_per_layer_input},
      {"sliding_window", shape.sliding_window},
      {"final_logit_softcapping", 30.0},
      {"rope_parameters",
       {{"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 1e4}}},
        {"full_attention",
         {{"rope_type", "proportional"}, {"rope_theta", 1e6}, {"partial_rotary_factor", 0.25}}}}},
  };
  const json vision = {
      {"hidden_size", shape.vision_hidden_size},
      {"intermediate_size", shape.vision_intermediate_size},
      {"num_hidden_layers", shape.vision_layers},
      {"num_attention_heads", shape.vision_heads},
      {"num_key_value_heads", shape.vision_heads},
      {"head_dim", shape.vision_head_dim},
      {"use_clipped_linears", true},
  };
  const json audio = {
      {"hidden_size", shape.audio_hidden_size},      {"num_hidden_layers", shape.audio_layers},
      {"num_attention_heads", shape.audio_heads},    {"use_clipped_linears", true},
      {"output_proj_dims", shape.audio_output_dims},
  };
  json root = {{"text_config", text}, {"vision_config", vision}, {"audio_config", audio}};
  // Placeholders and markers are ids near the end of the release's vocabulary.
  if (shape.vocab_size < 262144) {
    std::size_t id = shape.vocab_size;
    for (const char* key : {"boi_token_id", "eoi_token_id", "image_token_id", "video_token_id",
                            "boa_token_id", "eoa_token_index", "audio_token_id"}) {
      root[key] = --id;
    }
  }
  ConfigTexts texts;
  texts.config = root.dump();
  return parse_model_config(texts);
}

Checkpoint make_synthetic_checkpoint(const ModelConfig& config, const std::string& name) {
  const TensorList list(config);
  std::size_t matrices = 0;
  std::size_t constants = 0;
  for (const TensorList::Entry& entry : list.entries()) {
    (entry.constant ? constants : matrices) += round_up(entry.bytes(), kCheckpointAlignment);
  }
  const auto write_constants = [&](std::span<std::byte> block) {
    std::byte* target = block.data();
    for (const TensorList::Entry& entry : list.entries()) {
      if (!entry.constant) continue;
      for (std::size_t at = 0; at < entry.bytes(); at += kElementBytes) store(target + at, *entry.constant);
      target += round_up(entry.bytes(), kCheckpointAlignment);
    }
  };
  const std::shared_ptr<const Memory> memory(
      new Memory{{std::min(kDeviateBytes, matrices), matrices, write_deviates},
                 {constants, constants, write_constants}});

  std::vector<TensorView> tensors;
  const std::byte* next_matrix = memory->matrices.data();
  const std::byte* next_constant = memory->constants.data();
  for (const TensorList::Entry& entry : list.entries()) {
    const std::byte*& next = entry.constant ? next_constant : next_matrix;
    tensors.push_back({entry.name, DType::bf16, entry.shape, {next, entry.bytes()}, name});
    next += round_up(entry.bytes(), kCheckpointAlignment);
  }
  return Checkpoint::from_memory(name, std::move(tensors), memory);
}

}  // namespace reelfolio::engine
