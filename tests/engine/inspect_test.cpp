#include "engine/inspect.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "engine/fingerprint.h"
#include "engine/packed_model.h"
#include "tests/engine/model_files.h"
#include "tests/support/catch.h"

using namespace reelfolio::engine;
using reelfolio::test::golden_path;
using reelfolio::test::read_text;
using reelfolio::test::safetensors_file;
using reelfolio::test::TempFolder;
using reelfolio::test::TensorSpec;

namespace {

constexpr const char* kConfig = R"({
  "text_config": {"vocab_size": 712, "hidden_size": 8, "intermediate_size": 6, "num_hidden_layers": 3,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "global_head_dim": 8,
    "num_kv_shared_layers": 1, "hidden_size_per_layer_input": 2,
    "layer_types": ["sliding_attention", "full_attention", "full_attention"]}})";

/// The tensors of that config, and the unused key projection of its shared-KV layer.
std::vector<TensorSpec> tensors() {
  const std::string text = "model.language_model.";
  std::vector<TensorSpec> list = {{text + "embed_tokens.weight", "BF16", {712, 8}, {}},
                                  {text + "embed_tokens_per_layer.weight", "BF16", {712, 6}, {}},
                                  {text + "per_layer_model_projection.weight", "BF16", {6, 8}, {}},
                                  {text + "per_layer_projection_norm.weight", "F32", {2}, {}},
                                  {text + "norm.weight", "F32", {8}, {}}};
  for (std::uint64_t i = 0; i < 3; ++i) {
    const std::string at = text + "layers." + std::to_string(i) + ".";
    const std::uint64_t head_dim = i == 0 ? 4 : 8;
    for (const char* norm : {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                             "post_feedforward_layernorm", "post_per_layer_input_norm"}) {
      list.push_back({at + norm + ".weight", "F32", {8}, {}});
    }
    list.push_back({at + "self_attn.q_proj.weight", "BF16", {2 * head_dim, 8}, {}});
    list.push_back({at + "self_attn.o_proj.weight", "BF16", {8, 2 * head_dim}, {}});
    list.push_back({at + "self_attn.q_norm.weight", "F32", {head_dim}, {}});
    list.push_back({at + "self_attn.k_proj.weight", "BF16", {head_dim, 8}, {}});
    if (i < 2) {
      list.push_back({at + "self_attn.v_proj.weight", "BF16", {head_dim, 8}, {}});
      list.push_back({at + "self_attn.k_norm.weight", "F32", {head_dim}, {}});
    }
    list.push_back({at + "mlp.gate_proj.weight", "BF16", {6, 8}, {}});
    list.push_back({at + "mlp.up_proj.weight", "BF16", {6, 8}, {}});
    list.push_back({at + "mlp.down_proj.weight", "BF16", {8, 6}, {}});
    list.push_back({at + "per_layer_input_gate.weight", "BF16", {2, 8}, {}});
    list.push_back({at + "per_layer_projection.weight", "BF16", {8, 2}, {}});
    list.push_back({at + "layer_scalar", "F32", {1}, {}});
  }
  list.push_back({"model.audio_tower.output_proj.bias", "F32", {4}, {}});
  return list;
}

void write_model(const TempFolder& dir, const std::vector<TensorSpec>& list) {
  dir.write("config.json", kConfig);
  dir.write("tokenizer.json", read_text(golden_path("tokenizer/tokenizer.json")));
  dir.write("model.safetensors", safetensors_file(list));
}

std::string fingerprint(const TempFolder& dir) {
  return inspect_model(dir.path()).fingerprint.value();
}

}  // namespace

TEST_CASE("inspect: a complete model") {
  const TempFolder dir;
  write_model(dir, tensors());
  const ModelInspection found = inspect_model(dir.path());
  INFO(inspection_text(found));
  CHECK(found.usable());
  CHECK(found.architecture == "Gemma 4 with 3 layers of 8");
  CHECK(found.unused == std::vector<std::string>{"model.language_model.layers.2.self_attn.k_proj.weight"});
  CHECK(found.parts.at("token embedding").parameters == 712 * 8);
  CHECK(found.parts.at("per-layer embedding").bytes == 712 * 6 * 2);
  CHECK(found.parts.at("audio tower").tensors == 1);
  CHECK(found.types.at("BF16").bytes + found.types.at("F32").bytes == found.total.bytes);
  CHECK(found.total.tensors == tensors().size());
  REQUIRE(found.tokenizer);
  CHECK(found.tokenizer->vocab_size == 712);
  CHECK(found.memory_f32_bytes > found.memory_bf16_bytes);
  CHECK(found.memory_bf16_bytes > 712 * 8 * 2);
  CHECK(found.fingerprint->size() == 64);
  const std::string text = inspection_text(found);
  CHECK(text.find("missing tensors       none\n") != std::string::npos);
  CHECK(text.find(*found.fingerprint) != std::string::npos);
}

TEST_CASE("inspect: missing and misshapen tensors are listed, not thrown") {
  const TempFolder dir;
  std::vector<TensorSpec> list = tensors();
  list.erase(list.begin() + 4);  // norm
  list[2].shape = {8, 6};
  list[3].dtype = "I8";
  write_model(dir, list);
  const ModelInspection found = inspect_model(dir.path());
  CHECK_FALSE(found.usable());
  CHECK(found.missing == std::vector<std::string>{"model.language_model.norm.weight"});
  CHECK(found.misshapen ==
        std::vector<std::string>{
            "model.safetensors: tensor 'model.language_model.per_layer_model_projection.weight' "
            "is BF16 [8, 6], expected F32, BF16 or F16 [6, 8]",
            "model.safetensors: tensor 'model.language_model.per_layer_projection_norm.weight' "
            "is I8 [2], expected F32, BF16 or F16 [2]"});
  CHECK(found.problems.empty());
}

TEST_CASE("inspect: the audio tower is counted, checked, and may be left out") {
  const ModelInspection whole = inspect_model(golden_path("text/e4b/model"));
  INFO(inspection_text(whole));
  CHECK(whole.usable());
  CHECK(whole.audio_memory_f32_bytes > whole.audio_memory_bf16_bytes);
  CHECK(whole.audio_memory_bf16_bytes > 100'000);
  CHECK(inspection_text(whole).find("  more with sound") != std::string::npos);
  for (const std::string& name : whole.unused) CHECK(name.find("self_attn.") != std::string::npos);

  const TempFolder dir;
  // A config with sound over a checkpoint that lacks most of the tower.
  std::string config = kConfig;
  config.insert(1, R"("audio_config": {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1,
    "output_proj_dims": 4}, "boa_token_id": 1, "eoa_token_index": 2, "audio_token_id": 3,)");
  write_model(dir, tensors());
  dir.write("config.json", config);
  const ModelInspection part = inspect_model(dir.path());
  INFO(inspection_text(part));
  CHECK_FALSE(part.usable());
  CHECK(std::count(part.missing.begin(), part.missing.end(), "model.audio_tower.output_proj.weight") == 1);
  CHECK(std::count(part.missing.begin(), part.missing.end(), "model.audio_tower.output_proj.bias") == 0);

  std::vector<TensorSpec> without = tensors();
  without.pop_back();
  write_model(dir, without);
  dir.write("config.json", config);
  CHECK(inspect_model(dir.path()).usable());
}

TEST_CASE("inspect: a packed directory is as complete as its source") {
  const TempFolder dir;
  const auto packed = dir.path() / "packed";
  pack_model(golden_path("text/e4b/model"), packed, {ops::WeightType::int8}, {}, {});
  const ModelInspection found = inspect_model(packed);
  INFO(inspection_text(found));
  CHECK(found.usable());
  CHECK(found.packed == ops::WeightType::int8);
  CHECK(found.memory_packed_bytes > 0);
  CHECK(found.audio_memory_packed_bytes > 0);
  CHECK(found.memory_bf16_bytes == 0);
  CHECK(inspection_text(found).find(" as int8\n") != std::string::npos);
  CHECK(found.unused == inspect_model(golden_path("text/e4b/model")).unused);

  std::string bytes = read_text(packed / "packed.safetensors");
  std::string flipped = bytes;
  flipped[bytes.size() / 2] = static_cast<char>(flipped[bytes.size() / 2] ^ 4);
  dir.write("packed/packed.safetensors", flipped);
  const ModelInspection damaged = inspect_model(packed);
  REQUIRE_FALSE(damaged.problems.empty());
  CHECK(damaged.problems[0].find("' does not match its checksum") != std::string::npos);

  // Where the header is not what was written, that alone is said, and what is missing by its name.
  const std::string key = "model.language_model.embed_tokens.weight#head";
  const std::size_t place = bytes.find(key);
  REQUIRE(place != std::string::npos);
  bytes[place + key.size() - 1] = 'x';
  dir.write("packed/packed.safetensors", bytes);
  const ModelInspection renamed = inspect_model(packed);
  CHECK_FALSE(renamed.usable());
  CHECK(renamed.missing == std::vector<std::string>{key});
  REQUIRE(renamed.problems.size() == 1);
  CHECK(renamed.problems[0].find("packed.safetensors: header does not match its checksum") == 0);
}

TEST_CASE("inspect: every unreadable file is a problem of its own") {
  const TempFolder dir;
  const ModelInspection empty = inspect_model(dir.path());
  CHECK(empty.problems.size() == 3);
  CHECK_FALSE(empty.usable());
  dir.write("model.safetensors", safetensors_file(tensors()).substr(0, 100));
  dir.write("config.json", kConfig);
  dir.write("tokenizer.json", "{}");
  const ModelInspection broken = inspect_model(dir.path());
  REQUIRE(broken.problems.size() == 2);
  CHECK(broken.problems[0].find("tokenizer.json: ") == 0);
  CHECK(broken.problems[1].find("model.safetensors: ") == 0);
  CHECK(inspection_text(broken).find("problems              2\n") != std::string::npos);
}

TEST_CASE("inspect: long lists are cut in the text") {
  const TempFolder dir;
  write_model(dir, {{"model.language_model.norm.weight", "F32", {8}, {}}});
  const ModelInspection found = inspect_model(dir.path());
  CHECK(found.missing.size() > 20);
  const std::string text = inspection_text(found, 2);
  CHECK(text.find("  and " + std::to_string(found.missing.size() - 2) + " more\n") != std::string::npos);
}

TEST_CASE(
    "fingerprint: the same for a copy and for another split into files, another for any sampled change") {
  const TempFolder dir;
  write_model(dir, tensors());
  const std::string original = fingerprint(dir);

  const TempFolder copy;
  write_model(copy, tensors());
  CHECK(fingerprint(copy) == original);

  const std::vector<TensorSpec> all = tensors();
  const TempFolder split;
  write_model(split, all);
  std::filesystem::remove(split.path() / "model.safetensors");
  std::string map;
  for (std::size_t i = 0; i < all.size(); ++i) {
    map += (i == 0 ? "\"" : ",\"") + all[i].name + "\":\"" + (i < 7 ? "1" : "2") + ".safetensors\"";
  }
  split.write("1.safetensors", safetensors_file(std::vector<TensorSpec>(all.begin(), all.begin() + 7)));
  split.write("2.safetensors", safetensors_file(std::vector<TensorSpec>(all.begin() + 7, all.end())));
  split.write("model.safetensors.index.json", "{\"weight_map\":{" + map + "}}");
  CHECK(fingerprint(split) == original);

  const auto changed = [](const std::function<void(std::vector<TensorSpec>&)>& change) {
    const TempFolder other;
    std::vector<TensorSpec> list = tensors();
    change(list);
    write_model(other, list);
    return fingerprint(other);
  };
  CHECK(changed([](auto&) {}) == original);
  CHECK(changed([](auto& list) { list.back().bytes = std::string(16, 'x'); }) != original);
  CHECK(changed([](auto& list) { list.back().shape = {2, 2}; }) != original);
  CHECK(changed([](auto& list) { list.back().name += "x"; }) != original);
  CHECK(changed([](auto& list) { list.pop_back(); }) != original);

  const TempFolder settings;
  write_model(settings, tensors());
  settings.write("generation_config.json", "{}");
  CHECK(fingerprint(settings) != original);
}

TEST_CASE("fingerprint: first and last byte of a large tensor count") {
  const auto with_byte = [](std::size_t at) {
    const TempFolder dir;
    std::string bytes(100'000, 'a');
    if (at < bytes.size()) bytes[at] = 'b';
    dir.write("model.safetensors", safetensors_file({{"big", "U8", {100'000}, bytes}}));
    return model_fingerprint(dir.path(), Checkpoint::open(dir.path()));
  };
  const std::string original = with_byte(100'000);
  CHECK(with_byte(0) != original);
  CHECK(with_byte(99'999) != original);
  CHECK(with_byte(33'000) != original);  // inside the second block, 31,968 to 36,064
  CHECK(with_byte(50'000) == original);  // between samples: the documented blind spot
}
