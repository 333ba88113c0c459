#include "tests/engine/vision_checkpoint.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <stdexcept>

#include "nlohmann/json.hpp"

namespace reelfolio::test {

VisionShape VisionShape::release() {
  return {768, 3072, 16, 12, 64, 10240, 2560};
}

engine::ModelConfig vision_model_config(const VisionShape& shape) {
  engine::VisionConfig vision;
  vision.hidden_size = shape.hidden_size;
  vision.intermediate_size = shape.intermediate_size;
  vision.num_hidden_layers = shape.layers;
  vision.num_attention_heads = shape.heads;
  vision.num_key_value_heads = shape.heads;
  vision.head_dim = shape.head_dim;
  vision.patch_size = 16;
  vision.pooling_kernel_size = 3;
  vision.position_embedding_size = shape.position_entries;
  vision.use_clipped_linears = true;
  engine::ModelConfig config;
  config.text.hidden_size = shape.text_hidden_size;
  config.vision = vision;
  return config;
}

NamedTensors vision_tensors(const VisionShape& shape, std::uint64_t seed) {
  std::mt19937_64 generator(seed);
  const auto random = [&generator](std::vector<std::size_t> sides, float centre, float spread) {
    std::size_t count = 1;
    for (const std::size_t side : sides) count *= side;
    NamedTensor tensor{std::move(sides), std::vector<float>(count)};
    // Uniform of variance spread^2.
    for (float& value : tensor.values) {
      const float unit = static_cast<float>(generator() >> 40) * 0x1p-23F - 1.0F;
      value = centre + spread * std::sqrt(3.0F) * unit;
    }
    return tensor;
  };
  NamedTensors tensors;
  const auto matrix = [&](const std::string& name, std::size_t out, std::size_t in) {
    tensors[name] = random({out, in}, 0.0F, 1.0F / std::sqrt(static_cast<float>(in)));
  };
  const auto clipped = [&](const std::string& name, std::size_t out, std::size_t in) {
    matrix(name + ".linear.weight", out, in);
    tensors[name + ".input_min"] = {{}, {-3.0F}};
    tensors[name + ".input_max"] = {{}, {2.75F}};
    tensors[name + ".output_min"] = {{}, {-2.5F}};
    tensors[name + ".output_max"] = {{}, {3.25F}};
  };

  const std::string tower = "model.vision_tower.";
  const std::size_t hidden = shape.hidden_size;
  const std::size_t heads_size = shape.heads * shape.head_dim;
  matrix(tower + "patch_embedder.input_proj.weight", hidden, 768);
  tensors[tower + "patch_embedder.position_embedding_table"] =
      random({2, shape.position_entries, hidden}, 0.0F, 0.5F);
  for (std::size_t i = 0; i < shape.layers; ++i) {
    const std::string layer = tower + "encoder.layers." + std::to_string(i) + ".";
    for (const char* norm : {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                             "post_feedforward_layernorm"}) {
      tensors[layer + norm + ".weight"] = random({hidden}, 1.0F, 0.2F);
    }
    for (const char* norm : {"q_norm", "k_norm"}) {
      tensors[layer + "self_attn." + norm + ".weight"] = random({shape.head_dim}, 0.6F, 0.1F);
    }
    for (const char* projection : {"q_proj", "k_proj", "v_proj"}) {
      clipped(layer + "self_attn." + projection, heads_size, hidden);
    }
    clipped(layer + "self_attn.o_proj", hidden, heads_size);
    clipped(layer + "mlp.gate_proj", shape.intermediate_size, hidden);
    clipped(layer + "mlp.up_proj", shape.intermediate_size, hidden);
    clipped(layer + "mlp.down_proj", hidden, shape.intermediate_size);
  }
  matrix("model.embed_vision.embedding_projection.weight", shape.text_hidden_size, hidden);
  return tensors;
}

void write_checkpoint(const std::filesystem::path& dir, const NamedTensors& tensors, bool bf16) {
  const std::size_t element = bf16 ? 2 : 4;
  nlohmann::json header = nlohmann::json::object();
  std::size_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    const std::size_t size = tensor.values.size() * element;
    header[name] = {
        {"dtype", bf16 ? "BF16" : "F32"}, {"shape", tensor.shape}, {"data_offsets", {offset, offset + size}}};
    offset += size;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::filesystem::path path = dir / "model.safetensors";
  std::ofstream file(path, std::ios::binary);
  const std::uint64_t length = text.size();
  file.write(reinterpret_cast<const char*>(&length), sizeof length);
  file.write(text.data(), static_cast<std::streamsize>(text.size()));
  for (const auto& [name, tensor] : tensors) {
    std::vector<char> bytes(tensor.values.size() * element);
    for (std::size_t i = 0; i < tensor.values.size(); ++i) {
      const char* source = reinterpret_cast<const char*>(&tensor.values[i]);
      // Little-endian: the upper half of a float is a bf16.
      std::memcpy(bytes.data() + i * element, source + (4 - element), element);
    }
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  file.close();
  if (!file) throw std::runtime_error("cannot write " + path.string());
}

}  // namespace reelfolio::test
