#include "engine/inspect.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <set>
#include <string_view>
#include <utility>

#include "engine/audio/audio_tensors.h"
#include "engine/embedding_table.h"
#include "engine/error.h"
#include "engine/fingerprint.h"
#include "engine/packed_checksums.h"
#include "engine/packed_model.h"
#include "engine/safetensors.h"
#include "engine/tokenizer.h"

namespace reelfolio::engine {
namespace {

constexpr std::string_view kTextPrefix = "model.language_model.";
constexpr std::string_view kVisionPrefix = "model.vision_tower.";
constexpr std::string_view kAudioPart = "audio tower";
constexpr std::string_view kEmbedTokens = "model.language_model.embed_tokens.weight";
constexpr std::string_view kPerLayerTable = "model.language_model.embed_tokens_per_layer.weight";

bool starts_with(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

struct ExpectedTensor {
  std::string name;
  std::vector<std::size_t> shape;
  bool required = true;
};

/// The tensors that the engine reads (gemma4.md, section 2).
class ExpectedTensors {
 public:
  explicit ExpectedTensors(const ModelConfig& config) {
    text(config.text);
    if (config.vision) {
      vision(*config.vision);
      add("model.embed_vision.embedding_projection.weight",
          {config.text.hidden_size, config.vision->hidden_size});
    }
    if (!config.audio) return;
    for (audio::AudioTensor& tensor : audio::audio_tensors(config)) {
      add(std::move(tensor.name), std::move(tensor.shape), tensor.use != audio::AudioTensor::Use::bound);
    }
  }
  const std::vector<ExpectedTensor>& list() const { return list_; }

 private:
  void add(std::string name, std::vector<std::size_t> shape, bool required = true) {
    list_.push_back({std::move(name), std::move(shape), required});
  }

  void norms(const std::string& prefix, std::initializer_list<const char*> names, std::size_t size) {
    for (const char* name : names) add(prefix + name + ".weight", {size});
  }

  void text(const TextConfig& text) {
    const std::string prefix(kTextPrefix);
    const std::size_t hidden = text.hidden_size;
    const std::size_t per_layer = text.hidden_size_per_layer_input;
    const std::size_t all_layers = text.num_hidden_layers * per_layer;
    add(std::string(kEmbedTokens), {text.vocab_size, hidden});
    add(std::string(kPerLayerTable), {text.vocab_size_per_layer_input, all_layers});
    add(prefix + "per_layer_model_projection.weight", {all_layers, hidden});
    add(prefix + "per_layer_projection_norm.weight", {per_layer});
    add(prefix + "norm.weight", {hidden});
    for (std::size_t i = 0; i < text.layers.size(); ++i) {
      const TextLayerConfig& layer = text.layers[i];
      const std::string at = prefix + "layers." + std::to_string(i) + ".";
      const std::size_t query = text.num_attention_heads * layer.head_dim;
      norms(at,
            {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
             "post_feedforward_layernorm", "post_per_layer_input_norm"},
            hidden);
      add(at + "self_attn.q_proj.weight", {query, hidden});
      add(at + "self_attn.o_proj.weight", {hidden, query});
      add(at + "self_attn.q_norm.weight", {layer.head_dim});
      if (layer.kv_layer == i) {
        const std::size_t key = layer.num_key_value_heads * layer.head_dim;
        add(at + "self_attn.k_proj.weight", {key, hidden});
        add(at + "self_attn.v_proj.weight", {key, hidden});
        add(at + "self_attn.k_norm.weight", {layer.head_dim});
      }
      add(at + "mlp.gate_proj.weight", {layer.intermediate_size, hidden});
      add(at + "mlp.up_proj.weight", {layer.intermediate_size, hidden});
      add(at + "mlp.down_proj.weight", {hidden, layer.intermediate_size});
      add(at + "per_layer_input_gate.weight", {per_layer, hidden});
      add(at + "per_layer_projection.weight", {hidden, per_layer});
      add(at + "layer_scalar", {1});
    }
  }

  void vision(const VisionConfig& vision) {
    const std::string prefix(kVisionPrefix);
    const std::size_t hidden = vision.hidden_size;
    const std::size_t heads = vision.num_attention_heads * vision.head_dim;
    add(prefix + "patch_embedder.input_proj.weight", {hidden, vision.patch_size * vision.patch_size * 3});
    add(prefix + "patch_embedder.position_embedding_table", {2, vision.position_embedding_size, hidden});
    for (std::size_t i = 0; i < vision.num_hidden_layers; ++i) {
      const std::string at = prefix + "encoder.layers." + std::to_string(i) + ".";
      norms(at,
            {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
             "post_feedforward_layernorm"},
            hidden);
      for (const char* name : {"q_proj", "k_proj", "v_proj"})
        clipped(at + "self_attn." + name, {heads, hidden});
      clipped(at + "self_attn.o_proj", {hidden, heads});
      norms(at + "self_attn.", {"q_norm", "k_norm"}, vision.head_dim);
      clipped(at + "mlp.gate_proj", {vision.intermediate_size, hidden});
      clipped(at + "mlp.up_proj", {vision.intermediate_size, hidden});
      clipped(at + "mlp.down_proj", {hidden, vision.intermediate_size});
    }
    if (vision.standardize) {
      add(prefix + "std_bias", {hidden});
      add(prefix + "std_scale", {hidden});
    }
  }

  void clipped(const std::string& at, std::vector<std::size_t> shape) {
    add(at + ".linear.weight", std::move(shape));
    for (const char* bound : {"input_min", "input_max", "output_min", "output_max"})
      add(at + "." + bound, {}, false);
  }

  std::vector<ExpectedTensor> list_;
};

std::string part_of(std::string_view name) {
  if (name == kEmbedTokens) return "token embedding";
  if (name.substr(0, name.find('#')) == kPerLayerTable) return "per-layer embedding";
  if (starts_with(name, kTextPrefix)) return "decoder layers";
  if (starts_with(name, kVisionPrefix) || starts_with(name, "model.embed_vision.")) return "vision tower";
  if (starts_with(name, audio::kTowerPrefix) || starts_with(name, "model.embed_audio."))
    return std::string(kAudioPart);
  return "other";
}

std::string architecture_of(const ModelConfig& config) {
  const TextConfig& text = config.text;
  if (text.num_hidden_layers == 42 && text.hidden_size == 2560) return "Gemma 4 E4B";
  if (text.num_hidden_layers == 35 && text.hidden_size == 1536) return "Gemma 4 E2B";
  return "Gemma 4 with " + std::to_string(text.num_hidden_layers) + " layers of " +
         std::to_string(text.hidden_size);
}

bool fits(const TensorView& tensor, const ExpectedTensor& expected) {
  if (tensor.dtype != DType::f32 && tensor.dtype != DType::bf16 && tensor.dtype != DType::f16) return false;
  if (tensor.shape == expected.shape) return true;
  // Bounds are scalars, which some writers store with one dimension.
  return !expected.required && tensor.shape == std::vector<std::size_t>{1};
}

using KnownNames = std::set<std::string, std::less<>>;

/// The matrices of a packed file, which have names and bytes of their own. Gives the names of the
/// tensors that they stand for.
KnownNames compare_packed(const Checkpoint& checkpoint, const ModelConfig& config, ModelInspection& result,
                          KnownNames& known) {
  KnownNames replaced;
  for (const MatrixSpec& spec : model_matrices(config, *result.packed)) {
    known.insert(spec.key);
    // The table of the logits is packed beside the one for look-ups.
    const bool beside = spec.tensor == kEmbedTokens;
    if (!beside) replaced.insert(spec.tensor);
    const TensorView* matrix = checkpoint.find(spec.key);
    const std::size_t bytes = packed_shape(spec).total_bytes();
    if (matrix == nullptr) {
      result.missing.push_back(spec.key);
    } else if (matrix->bytes.size() != bytes) {
      result.misshapen.push_back(matrix->file + ": matrix '" + matrix->name + "' has " +
                                 std::to_string(matrix->bytes.size()) + " bytes, expected " +
                                 std::to_string(bytes));
    }
    const bool audio = packed_part(spec.key) == PackedPart::audio_tower;
    (audio ? result.audio_memory_packed_bytes : result.memory_packed_bytes) += bytes;
  }
  known.insert(std::string(kChecksumsName));
  const std::string table(kPerLayerTable);
  if (const TensorView* int8 = checkpoint.find(int8_table_name(table))) {
    known.insert(int8->name);
    replaced.insert(table);
    const std::size_t group = config.text.hidden_size_per_layer_input;
    std::string problem = int8_table_problem(*int8, config.text.vocab_size_per_layer_input,
                                             config.text.num_hidden_layers * group, group);
    if (!problem.empty()) result.misshapen.push_back(std::move(problem));
  }
  return replaced;
}

void add_memory(const TensorView& tensor, ModelInspection& result) {
  // Tables that are only looked up stay in the mapped file.
  if (tensor.name == kPerLayerTable) return;
  const bool audio = part_of(tensor.name) == kAudioPart;
  const std::uint64_t f32_bytes = 4 * static_cast<std::uint64_t>(tensor.num_elements());
  if (result.packed) {
    if (tensor.name == kEmbedTokens) return;
    (audio ? result.audio_memory_packed_bytes : result.memory_packed_bytes) += f32_bytes;
    return;
  }
  // Only matrices follow the weight type; the rest is kept in f32.
  (audio ? result.audio_memory_f32_bytes : result.memory_f32_bytes) += f32_bytes;
  (audio ? result.audio_memory_bf16_bytes : result.memory_bf16_bytes) +=
      tensor.shape.size() >= 2 ? f32_bytes / 2 : f32_bytes;
}

void compare(const Checkpoint& checkpoint, ModelConfig config, ModelInspection& result) {
  const bool declares_sound = config.audio.has_value();
  const bool hears = audio::has_audio_tower(config, checkpoint);
  if (!hears) config.audio.reset();
  result.packed = packed_weights(checkpoint);
  KnownNames known;
  KnownNames replaced;
  if (result.packed) replaced = compare_packed(checkpoint, config, result, known);
  const ExpectedTensors expected_tensors(config);
  for (const ExpectedTensor& expected : expected_tensors.list()) {
    if (replaced.count(expected.name) > 0) continue;
    known.insert(expected.name);
    const TensorView* tensor = checkpoint.find(expected.name);
    if (tensor == nullptr) {
      if (expected.required) result.missing.push_back(expected.name);
      continue;
    }
    if (!fits(*tensor, expected)) {
      result.misshapen.push_back(tensor->file + ": tensor '" + tensor->name + "' is " +
                                 std::string(dtype_name(tensor->dtype)) + " " + shape_text(tensor->shape) +
                                 ", expected F32, BF16 or F16 " + shape_text(expected.shape));
    }
    add_memory(*tensor, result);
  }
  for (const TensorView& tensor : checkpoint.tensors()) {
    const bool listed = declares_sound || part_of(tensor.name) != kAudioPart;
    if (listed && known.count(tensor.name) == 0) result.unused.push_back(tensor.name);
  }
}

void add_to(ModelInspection::Amount& amount, const TensorView& tensor) {
  ++amount.tensors;
  amount.parameters += tensor.num_elements();
  amount.bytes += tensor.bytes.size();
}

std::string with_commas(std::uint64_t value) {
  const std::string digits = std::to_string(value);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

std::string gigabytes(std::uint64_t bytes) {
  char text[32];
  const bool small = bytes < 100'000'000;
  std::snprintf(text, sizeof text, small ? "%.2f MB" : "%.2f GB",
                static_cast<double>(bytes) / (small ? 1e6 : 1e9));
  return text;
}

class Report {
 public:
  explicit Report(std::size_t most_names) : most_names_(most_names) {}

  void line(std::string name, const std::string& value) {
    name.resize(std::max<std::size_t>(name.size() + 1, 22), ' ');
    text_ += name + value + "\n";
  }
  void amount(const std::string& name, const ModelInspection::Amount& amount) {
    line(name, with_commas(amount.parameters) + " parameters, " + std::to_string(amount.tensors) +
                   " tensors, " + gigabytes(amount.bytes));
  }
  void list(const std::string& name, const std::vector<std::string>& items) {
    line(name, items.empty() ? "none" : std::to_string(items.size()));
    for (std::size_t i = 0; i < std::min(items.size(), most_names_); ++i) text_ += "  " + items[i] + "\n";
    if (items.size() > most_names_)
      text_ += "  and " + std::to_string(items.size() - most_names_) + " more\n";
  }
  std::string take() { return std::move(text_); }

 private:
  std::size_t most_names_;
  std::string text_;
};

std::string layers_text(std::size_t layers, std::size_t hidden, std::size_t heads) {
  return std::to_string(layers) + " layers of " + std::to_string(hidden) + ", " + std::to_string(heads) +
         " heads";
}

}  // namespace

ModelInspection inspect_model(const std::filesystem::path& dir) {
  ModelInspection result;
  result.directory = dir.string();
  const auto attempt = [&](const std::function<void()>& step) {
    try {
      step();
    } catch (const ModelError& error) {
      result.problems.emplace_back(error.what());
    }
  };
  attempt([&] {
    result.config = load_model_config(dir);
    result.architecture = architecture_of(*result.config);
  });
  attempt([&] {
    const Tokenizer tokenizer = Tokenizer::load(dir);
    result.tokenizer = {tokenizer.vocab_size(), tokenizer.num_merges(), tokenizer.num_added_tokens(),
                        tokenizer.num_special_tokens()};
    if (result.config && tokenizer.vocab_size() > result.config->text.vocab_size) {
      result.problems.push_back("tokenizer.json: has " + std::to_string(tokenizer.vocab_size()) +
                                " ids, but config.json a vocabulary of " +
                                std::to_string(result.config->text.vocab_size));
    }
  });
  attempt([&] {
    const Checkpoint checkpoint = Checkpoint::open(dir);
    for (const TensorView& tensor : checkpoint.tensors()) {
      add_to(result.parts[part_of(tensor.name)], tensor);
      add_to(result.types[std::string(dtype_name(tensor.dtype))], tensor);
      add_to(result.total, tensor);
    }
    if (result.config) compare(checkpoint, *result.config, result);
    attempt([&] {
      if (!packed_weights(checkpoint)) return;
      for (std::string& complaint : packed_model_damage(checkpoint)) {
        result.problems.push_back(std::move(complaint));
      }
    });
    result.fingerprint = model_fingerprint(dir, checkpoint);
  });
  return result;
}

std::string inspection_text(const ModelInspection& inspection, std::size_t most_names) {
  Report report(most_names);
  report.line("directory", inspection.directory);
  if (inspection.config) {
    const ModelConfig& config = *inspection.config;
    report.line("architecture", inspection.architecture);
    report.line(
        "text decoder",
        layers_text(config.text.num_hidden_layers, config.text.hidden_size, config.text.num_attention_heads) +
            ", " + std::to_string(config.text.num_kv_shared_layers) + " with shared KV");
    if (config.vision) {
      report.line("vision tower", layers_text(config.vision->num_hidden_layers, config.vision->hidden_size,
                                              config.vision->num_attention_heads));
    }
    if (config.audio) {
      report.line("audio tower", layers_text(config.audio->num_hidden_layers, config.audio->hidden_size,
                                             config.audio->num_attention_heads));
    }
    report.line("context", with_commas(config.text.max_position_embeddings) + " tokens");
  }
  if (inspection.tokenizer) {
    const auto& facts = *inspection.tokenizer;
    report.line("tokenizer", with_commas(facts.vocab_size) + " ids, " + with_commas(facts.merges) +
                                 " merges, " + with_commas(facts.added_tokens) + " added tokens (" +
                                 with_commas(facts.special_tokens) + " special)");
  }
  for (const auto& [name, amount] : inspection.parts) report.amount("part: " + name, amount);
  for (const auto& [name, amount] : inspection.types) report.amount("type: " + name, amount);
  report.amount("total", inspection.total);
  if (inspection.config) {
    const auto memory = [&](std::uint64_t packed, std::uint64_t bf16, std::uint64_t f32) {
      if (inspection.packed) {
        return gigabytes(packed) + " as " + std::string(ops::weight_type_name(*inspection.packed));
      }
      return gigabytes(bf16) + " as bf16, " + gigabytes(f32) + " as f32";
    };
    report.line("memory for weights", memory(inspection.memory_packed_bytes, inspection.memory_bf16_bytes,
                                             inspection.memory_f32_bytes));
    const std::string sound = memory(inspection.audio_memory_packed_bytes, inspection.audio_memory_bf16_bytes,
                                     inspection.audio_memory_f32_bytes);
    if (inspection.audio_memory_packed_bytes + inspection.audio_memory_f32_bytes > 0) {
      report.line("  more with sound", sound);
    }
  }
  if (inspection.fingerprint) report.line("fingerprint", *inspection.fingerprint);
  report.list("missing tensors", inspection.missing);
  report.list("misshapen tensors", inspection.misshapen);
  report.list("unused tensors", inspection.unused);
  report.list("problems", inspection.problems);
  return report.take();
}

}  // namespace reelfolio::engine
