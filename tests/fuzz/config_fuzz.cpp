#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/error.h"

using namespace reelfolio::engine;

/// Up to four files, separated by NUL, which no JSON text contains. A config that is
/// accepted must be consistent.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<std::string> files(1);
  for (std::size_t i = 0; i < size; ++i) {
    if (data[i] == 0) {
      files.emplace_back();
    } else {
      files.back() += static_cast<char>(data[i]);
    }
  }
  ConfigTexts texts;
  texts.config = files[0];
  if (files.size() > 1) texts.generation_config = files[1];
  if (files.size() > 2) texts.processor_config = files[2];
  if (files.size() > 3) texts.preprocessor_config = files[3];
  try {
    const ModelConfig config = parse_model_config(texts);
    const TextConfig& text = config.text;
    const auto require = [](bool fine) {
      if (!fine) std::abort();
    };
    require(text.layers.size() == text.num_hidden_layers && !text.layers.empty());
    for (std::size_t i = 0; i < text.layers.size(); ++i) {
      const TextLayerConfig& layer = text.layers[i];
      require(layer.kv_layer <= i && (layer.kv_layer == i) == (i < text.first_kv_shared_layer));
      require(text.layers[layer.kv_layer].type == layer.type);
      require(layer.head_dim > 0 && layer.head_dim % 2 == 0 && layer.intermediate_size > 0);
      require(text.num_attention_heads % layer.num_key_value_heads == 0);
      require(text.rope(layer.type).rotated_frequencies(layer.head_dim) <= layer.head_dim / 2);
    }
    require(!config.generation.eos_token_ids.empty());
    for (const TokenId id : config.generation.eos_token_ids) {
      require(id >= 0 && static_cast<std::size_t>(id) < text.vocab_size);
    }
    if (config.audio) require(config.audio->hidden_size % config.audio->num_attention_heads == 0);
  } catch (const ModelError&) {
  }
  return 0;
}
