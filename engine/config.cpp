#include "engine/config.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "engine/error.h"
#include "engine/json.h"

namespace reelfolio::engine {
namespace {

// Far above every released model and low enough that the element count of any tensor
// (at most a table of vocabulary x layers x per-layer width) stays below 2^48.
constexpr std::size_t kMostLayers = 1024;
constexpr std::size_t kMostHidden = std::size_t{1} << 17;
constexpr std::size_t kMostIntermediate = std::size_t{1} << 20;
constexpr std::size_t kMostHeads = 1024;
constexpr std::size_t kMostHeadDim = 8192;
constexpr std::size_t kMostVocab = std::size_t{1} << 24;
constexpr std::size_t kMostPositions = std::size_t{1} << 24;
constexpr std::size_t kMostConfigBytes = std::size_t{16} << 20;
constexpr std::array<std::size_t, 5> kSoftTokenBudgets = {70, 140, 280, 560, 1120};

std::size_t size_or(const JsonValue& object, std::string_view key, std::size_t fallback, std::size_t least,
                    std::size_t most) {
  const auto value = object.find(key);
  return value ? value->size(least, most) : fallback;
}

double number_or(const JsonValue& object, std::string_view key, double fallback, double least, double most) {
  const auto value = object.find(key);
  return value ? value->number(least, most) : fallback;
}

bool bool_or(const JsonValue& object, std::string_view key, bool fallback) {
  const auto value = object.find(key);
  return value ? value->boolean() : fallback;
}

TokenId token_or(const JsonValue& object, std::string_view key, TokenId fallback, std::size_t vocab_size) {
  const auto value = object.find(key);
  return value ? static_cast<TokenId>(value->size(0, vocab_size - 1)) : fallback;
}

void expect_string(const JsonValue& object, std::string_view key, std::string_view expected) {
  const auto value = object.find(key);
  if (value && value->string() != expected) value->fail("\"" + std::string(expected) + "\"");
}

void expect_false(const JsonValue& object, std::string_view key) {
  const auto value = object.find(key);
  if (value && value->boolean()) value->fail("false: this engine does not support it");
}

float rms_norm_eps(const JsonValue& object) {
  return static_cast<float>(number_or(object, "rms_norm_eps", 1e-6, 1e-12, 1.0));
}

RopeConfig read_rope(const JsonValue& rope, bool proportional_allowed) {
  RopeConfig result;
  // Older files spell the key "type".
  auto type = rope.find("rope_type");
  if (!type) type = rope.find("type");
  if (type) {
    const std::string_view name = type->string();
    if (name == "proportional" && proportional_allowed) {
      result.type = RopeConfig::Type::proportional;
    } else if (name != "default") {
      type->fail(proportional_allowed ? "\"default\" or \"proportional\"" : "\"default\"");
    }
  }
  result.rope_theta = rope.require("rope_theta").number(1.0, 1e12);
  if (result.type == RopeConfig::Type::proportional) {
    result.partial_rotary_factor = number_or(rope, "partial_rotary_factor", 1.0, 0.0, 1.0);
    result.factor = number_or(rope, "factor", 1.0, 1e-6, 1e6);
  } else if (const auto partial = rope.find("partial_rotary_factor");
             partial && partial->number(0.0, 1.0) != 1.0) {
    partial->fail("1 for the default rope type");
  }
  return result;
}

void read_text_rope(const JsonValue& text, TextConfig& config) {
  config.sliding_rope = {RopeConfig::Type::standard, 1e4, 1.0, 1.0};
  config.full_rope = {RopeConfig::Type::proportional, 1e6, 0.25, 1.0};
  if (const auto rope = text.find("rope_parameters")) {
    config.sliding_rope = read_rope(rope->require("sliding_attention"), true);
    config.full_rope = read_rope(rope->require("full_attention"), true);
  }
}

std::vector<LayerType> read_layer_types(const JsonValue& text, std::size_t num_layers) {
  std::vector<LayerType> types;
  const auto listed = text.find("layer_types");
  if (!listed) {
    // What the reference implementation assumes: every sixth layer and the last are full.
    for (std::size_t i = 0; i < num_layers; ++i) {
      types.push_back((i + 1) % 6 == 0 || i + 1 == num_layers ? LayerType::full : LayerType::sliding);
    }
    return types;
  }
  for (const simdjson::dom::element element : listed->array()) {
    const JsonValue item(element, listed->path() + "[" + std::to_string(types.size()) + "]", listed->file());
    if (types.size() == num_layers) break;
    if (item.string() == "full_attention") {
      types.push_back(LayerType::full);
    } else if (item.string() == "sliding_attention") {
      types.push_back(LayerType::sliding);
    } else {
      item.fail("\"sliding_attention\" or \"full_attention\"");
    }
  }
  if (types.size() != num_layers || listed->array().size() != num_layers) {
    throw ModelError(listed->file() + ": key '" + listed->path() + "' has " +
                     std::to_string(listed->array().size()) + " entries, expected " +
                     std::to_string(num_layers));
  }
  // The reference implementation forces it, which would contradict the file.
  if (types.back() != LayerType::full) listed->fail("full_attention for the last layer");
  return types;
}

/// Overrides of single layers, as newer files give them: {"5": {"head_dim": 512}}.
void apply_per_layer_config(const JsonValue& overrides, std::vector<TextLayerConfig>& layers) {
  for (const simdjson::dom::key_value_pair field : overrides.object()) {
    const JsonValue entry(field.value, overrides.path() + "." + std::string(field.key), overrides.file());
    std::size_t index = 0;
    const char* end = field.key.data() + field.key.size();
    const auto [stop, error] = std::from_chars(field.key.data(), end, index);
    if (error != std::errc() || stop != end || index >= layers.size()) {
      throw ModelError(entry.file() + ": key '" + entry.path() + "' names no layer, expected 0 to " +
                       std::to_string(layers.size() - 1));
    }
    TextLayerConfig& layer = layers[index];
    layer.head_dim = size_or(entry, "head_dim", layer.head_dim, 2, kMostHeadDim);
    layer.num_key_value_heads =
        size_or(entry, "num_key_value_heads", layer.num_key_value_heads, 1, kMostHeads);
  }
}

void read_layers(const JsonValue& text, TextConfig& config) {
  const std::vector<LayerType> types = read_layer_types(text, config.num_hidden_layers);
  const std::size_t head_dim = size_or(text, "head_dim", 256, 2, kMostHeadDim);
  const std::size_t num_key_value_heads = text.require("num_key_value_heads").size(1, kMostHeads);
  const std::size_t intermediate_size = text.require("intermediate_size").size(1, kMostIntermediate);
  const auto per_layer = text.find("per_layer_config");
  // With per_layer_config, head_dim is every layer's size unless an entry says otherwise.
  const std::size_t global_head_dim =
      size_or(text, "global_head_dim", per_layer ? head_dim : 512, 2, kMostHeadDim);

  for (std::size_t i = 0; i < config.num_hidden_layers; ++i) {
    const bool shared = i >= config.first_kv_shared_layer;
    TextLayerConfig layer;
    layer.type = types[i];
    layer.head_dim = types[i] == LayerType::full ? global_head_dim : head_dim;
    layer.num_key_value_heads = num_key_value_heads;
    layer.intermediate_size =
        shared && config.use_double_wide_mlp ? 2 * intermediate_size : intermediate_size;
    config.layers.push_back(layer);
  }
  if (per_layer) apply_per_layer_config(*per_layer, config.layers);

  const auto contradiction = [&](std::size_t layer, const std::string& what) {
    throw ModelError(text.file() + ": layer " + std::to_string(layer) + " of 'text_config' " + what);
  };
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    TextLayerConfig& layer = config.layers[i];
    if (layer.head_dim % 2 != 0) {
      contradiction(i, "has head_dim " + std::to_string(layer.head_dim) + ", expected an even number");
    }
    if (config.num_attention_heads % layer.num_key_value_heads != 0) {
      contradiction(i, "has " + std::to_string(config.num_attention_heads) +
                           " attention heads, expected a multiple of its " +
                           std::to_string(layer.num_key_value_heads) + " key-value heads");
    }
    layer.kv_layer = i;
    if (i < config.first_kv_shared_layer) continue;
    std::size_t source = config.first_kv_shared_layer;
    while (source > 0 && config.layers[source - 1].type != layer.type) --source;
    if (source == 0)
      contradiction(i, "shares keys and values, but no layer before the shared ones has its type");
    layer.kv_layer = source - 1;
    const TextLayerConfig& owner = config.layers[layer.kv_layer];
    if (owner.head_dim != layer.head_dim || owner.num_key_value_heads != layer.num_key_value_heads) {
      contradiction(i, "reads the keys of layer " + std::to_string(layer.kv_layer) +
                           ", which has another head_dim or num_key_value_heads");
    }
  }
}

TextConfig read_text(const JsonValue& root) {
  const JsonValue text = root.require("text_config");
  expect_false(text, "enable_moe_block");
  expect_false(text, "attention_k_eq_v");
  expect_false(text, "attention_bias");
  if (const auto bidirectional = text.find("use_bidirectional_attention")) {
    bidirectional->fail("null: this engine does not support bidirectional attention");
  }
  expect_string(text, "hidden_activation", "gelu_pytorch_tanh");
  for (const JsonValue& holder : {root, text}) {
    if (const auto tied = holder.find("tie_word_embeddings"); tied && !tied->boolean()) {
      tied->fail("true: the output head is the embedding table");
    }
  }

  TextConfig config;
  config.vocab_size = size_or(text, "vocab_size", 262144, 1, kMostVocab);
  config.vocab_size_per_layer_input =
      size_or(text, "vocab_size_per_layer_input", config.vocab_size, 1, kMostVocab);
  config.hidden_size = text.require("hidden_size").size(1, kMostHidden);
  config.num_hidden_layers = text.require("num_hidden_layers").size(1, kMostLayers);
  config.num_attention_heads = text.require("num_attention_heads").size(1, kMostHeads);
  config.num_kv_shared_layers = size_or(text, "num_kv_shared_layers", 0, 0, config.num_hidden_layers - 1);
  config.first_kv_shared_layer = config.num_hidden_layers - config.num_kv_shared_layers;
  config.hidden_size_per_layer_input = size_or(text, "hidden_size_per_layer_input", 256, 1, kMostHeadDim);
  config.sliding_window = size_or(text, "sliding_window", 512, 1, kMostPositions);
  config.max_position_embeddings = size_or(text, "max_position_embeddings", 131072, 1, kMostPositions);
  config.rms_norm_eps = rms_norm_eps(text);
  if (const auto cap = text.find("final_logit_softcapping")) {
    config.final_logit_softcapping = static_cast<float>(cap->number(1e-3, 1e6));
  }
  config.use_double_wide_mlp = bool_or(text, "use_double_wide_mlp", false);
  // The pad id is a row of both tables.
  const std::size_t table_rows = std::min(config.vocab_size, config.vocab_size_per_layer_input);
  config.pad_token_id = token_or(text, "pad_token_id", 0, table_rows);
  config.bos_token_id = token_or(text, "bos_token_id", 2, config.vocab_size);
  read_text_rope(text, config);
  read_layers(text, config);
  return config;
}

VisionConfig read_vision(const JsonValue& vision) {
  expect_string(vision, "hidden_activation", "gelu_pytorch_tanh");
  expect_false(vision, "attention_bias");
  VisionConfig config;
  config.hidden_size = size_or(vision, "hidden_size", 768, 1, kMostHidden);
  config.intermediate_size = size_or(vision, "intermediate_size", 3072, 1, kMostIntermediate);
  config.num_hidden_layers = size_or(vision, "num_hidden_layers", 16, 1, kMostLayers);
  config.num_attention_heads = size_or(vision, "num_attention_heads", 12, 1, kMostHeads);
  config.num_key_value_heads = config.num_attention_heads;
  if (const auto heads = vision.find("num_key_value_heads");
      heads && heads->size(1, kMostHeads) != config.num_attention_heads) {
    heads->fail("num_attention_heads, " + std::to_string(config.num_attention_heads));
  }
  config.head_dim = size_or(vision, "head_dim", 64, 4, kMostHeadDim);
  // Each half of a head rotates by one axis, in pairs.
  if (config.head_dim % 4 != 0) vision.require("head_dim").fail("a multiple of 4");
  config.patch_size = size_or(vision, "patch_size", 16, 1, 256);
  config.pooling_kernel_size = size_or(vision, "pooling_kernel_size", 3, 1, 64);
  config.position_embedding_size = size_or(vision, "position_embedding_size", 10240, 1, std::size_t{1} << 20);
  if (const auto rope = vision.find("rope_parameters"))
    config.rope_theta = read_rope(*rope, false).rope_theta;
  config.rms_norm_eps = rms_norm_eps(vision);
  config.use_clipped_linears = bool_or(vision, "use_clipped_linears", false);
  config.standardize = bool_or(vision, "standardize", false);
  return config;
}

AudioConfig read_audio(const JsonValue& audio) {
  expect_string(audio, "hidden_act", "silu");
  AudioConfig config;
  config.hidden_size = size_or(audio, "hidden_size", 1024, 1, kMostHidden);
  config.num_hidden_layers = size_or(audio, "num_hidden_layers", 12, 1, kMostLayers);
  config.num_attention_heads = size_or(audio, "num_attention_heads", 8, 1, kMostHeads);
  if (config.hidden_size % config.num_attention_heads != 0) {
    audio.require("hidden_size")
        .fail("a multiple of num_attention_heads, " + std::to_string(config.num_attention_heads));
  }
  config.subsampling_conv_channels = {128, 32};
  if (const auto channels = audio.find("subsampling_conv_channels")) {
    config.subsampling_conv_channels = channels->sizes(1, 65536);
    if (config.subsampling_conv_channels.size() != 2) channels->fail("two integers");
  }
  config.conv_kernel_size = size_or(audio, "conv_kernel_size", 5, 1, 1024);
  config.attention_chunk_size = size_or(audio, "attention_chunk_size", 12, 1, 65536);
  config.attention_context_left = size_or(audio, "attention_context_left", 13, 1, 65536);
  config.attention_context_right = size_or(audio, "attention_context_right", 0, 0, 65536);
  constexpr double kMostFloat = std::numeric_limits<float>::max();
  const auto number = [&](std::string_view key, double fallback, double least, double most) {
    return static_cast<float>(number_or(audio, key, fallback, least, most));
  };
  config.attention_logit_cap = number("attention_logit_cap", 50.0, 1e-3, 1e6);
  config.attention_invalid_logits_value = number("attention_invalid_logits_value", -1e9, -kMostFloat, 0.0);
  config.residual_weight = number("residual_weight", 0.5, -1e6, 1e6);
  config.gradient_clipping = number("gradient_clipping", 1e10, 0.0, kMostFloat);
  config.output_proj_dims = size_or(audio, "output_proj_dims", 1536, 1, kMostHidden);
  config.rms_norm_eps = rms_norm_eps(audio);
  config.use_clipped_linears = bool_or(audio, "use_clipped_linears", true);
  return config;
}

MultimodalTokenIds read_tokens(const JsonValue& root, const ModelConfig& config) {
  MultimodalTokenIds ids;
  const auto read = [&](std::string_view key, TokenId& id, bool needed) {
    id = token_or(root, key, id, config.text.vocab_size);
    if (needed && static_cast<std::size_t>(id) >= config.text.vocab_size) {
      throw ModelError(root.file() + ": key '" + std::string(key) + "' is missing, and the release's id " +
                       std::to_string(id) + " is outside the vocabulary of " +
                       std::to_string(config.text.vocab_size));
    }
  };
  const bool vision = config.vision.has_value();
  const bool audio = config.audio.has_value();
  read("boi_token_id", ids.boi, vision);
  read("eoi_token_id", ids.eoi, vision);
  read("image_token_id", ids.image, vision);
  read("video_token_id", ids.video, vision);
  read("boa_token_id", ids.boa, audio);
  read("eoa_token_index", ids.eoa, audio);
  read("audio_token_id", ids.audio, audio);
  return ids;
}

std::vector<TokenId> token_list(const JsonValue& value, std::size_t vocab_size) {
  std::vector<TokenId> ids;
  for (const std::size_t id : value.sizes(0, vocab_size - 1)) ids.push_back(static_cast<TokenId>(id));
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

GenerationConfig read_generation(const JsonValue& root, const std::optional<std::string>& text,
                                 std::size_t vocab_size) {
  GenerationConfig config;
  if (text) {
    const JsonDocument document(*text, "generation_config.json");
    const JsonValue generation = document.root();
    if (const auto eos = generation.find("eos_token_id")) config.eos_token_ids = token_list(*eos, vocab_size);
    if (const auto suppressed = generation.find("suppress_tokens")) {
      config.suppress_tokens = token_list(*suppressed, vocab_size);
    }
    config.do_sample = bool_or(generation, "do_sample", true);
    config.temperature = static_cast<float>(number_or(generation, "temperature", 1.0, 0.0, 1e4));
    config.top_k = static_cast<int>(size_or(generation, "top_k", 64, 0, kMostVocab));
    config.top_p = static_cast<float>(number_or(generation, "top_p", 0.95, 0.0, 1.0));
  }
  // config.json is the older place for the stop ids.
  const auto text_config = root.find("text_config");
  for (const auto* holder : {&root, text_config ? &*text_config : nullptr}) {
    if (holder == nullptr || !config.eos_token_ids.empty()) continue;
    if (const auto eos = holder->find("eos_token_id")) config.eos_token_ids = token_list(*eos, vocab_size);
  }
  if (config.eos_token_ids.empty()) {
    for (const TokenId id : {1, 50, 106}) {
      if (static_cast<std::size_t>(id) < vocab_size) config.eos_token_ids.push_back(id);
    }
  }
  if (config.eos_token_ids.empty()) {
    throw ModelError(root.file() + ": key 'eos_token_id' is missing, also in generation_config.json");
  }
  return config;
}

void read_image_processor(const JsonValue& values, ImageProcessorConfig& config) {
  const auto matching = [&](std::string_view key, std::size_t& size) {
    if (const auto value = values.find(key); value && value->size(1, 256) != size) {
      value->fail(std::to_string(size) + ", as in config.json");
    }
  };
  matching("patch_size", config.patch_size);
  matching("pooling_kernel_size", config.pooling_kernel_size);
  if (const auto budget = values.find("max_soft_tokens")) {
    config.max_soft_tokens = budget->size(1, kSoftTokenBudgets.back());
    if (std::find(kSoftTokenBudgets.begin(), kSoftTokenBudgets.end(), config.max_soft_tokens) ==
        kSoftTokenBudgets.end()) {
      budget->fail("70, 140, 280, 560 or 1120");
    }
  }
}

}  // namespace

std::size_t RopeConfig::rotated_frequencies(std::size_t head_dim) const {
  const auto half = static_cast<double>(head_dim / 2);
  if (type == Type::standard) return head_dim / 2;
  return static_cast<std::size_t>(std::floor(partial_rotary_factor * half));
}

ModelConfig parse_model_config(const ConfigTexts& texts) {
  const JsonDocument document(texts.config, "config.json");
  const JsonValue root = document.root();
  ModelConfig config;
  config.text = read_text(root);
  if (const auto vision = root.find("vision_config")) config.vision = read_vision(*vision);
  if (const auto audio = root.find("audio_config")) config.audio = read_audio(*audio);
  config.tokens = read_tokens(root, config);
  config.generation = read_generation(root, texts.generation_config, config.text.vocab_size);

  if (!config.vision) return config;
  config.image_processor.patch_size = config.vision->patch_size;
  config.image_processor.pooling_kernel_size = config.vision->pooling_kernel_size;
  if (texts.processor_config) {
    const JsonDocument processor(*texts.processor_config, "processor_config.json");
    if (const auto values = processor.root().find("image_processor")) {
      read_image_processor(*values, config.image_processor);
      return config;
    }
  }
  if (texts.preprocessor_config) {
    const JsonDocument processor(*texts.preprocessor_config, "preprocessor_config.json");
    read_image_processor(processor.root(), config.image_processor);
  }
  return config;
}

ModelConfig load_model_config(const std::filesystem::path& dir) {
  ConfigTexts texts;
  texts.config = read_model_file(dir / "config.json", kMostConfigBytes);
  texts.generation_config = read_optional_model_file(dir / "generation_config.json", kMostConfigBytes);
  texts.processor_config = read_optional_model_file(dir / "processor_config.json", kMostConfigBytes);
  texts.preprocessor_config = read_optional_model_file(dir / "preprocessor_config.json", kMostConfigBytes);
  return parse_model_config(texts);
}

}  // namespace reelfolio::engine
