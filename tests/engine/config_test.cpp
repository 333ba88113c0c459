#include "engine/config.h"

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/engine/model_files.h"
#include "tests/support/catch.h"

using namespace reelfolio::engine;
using nlohmann::json;
using reelfolio::test::golden_path;
using reelfolio::test::model_error;
using reelfolio::test::read_text;

namespace {

json tiny_config() {
  return json::parse(read_text(golden_path("config/e4b-tiny/config.json")));
}

ModelConfig parse(const json& config) {
  return parse_model_config({config.dump(), {}, {}, {}});
}

std::string error_with(const std::function<void(json&)>& change) {
  json config = tiny_config();
  change(config);
  return model_error([&] { parse(config); });
}

void check_same_layers(const TextConfig& a, const TextConfig& b) {
  REQUIRE(a.layers.size() == b.layers.size());
  for (std::size_t i = 0; i < a.layers.size(); ++i) {
    INFO("layer " << i);
    CHECK(a.layers[i].type == b.layers[i].type);
    CHECK(a.layers[i].head_dim == b.layers[i].head_dim);
    CHECK(a.layers[i].num_key_value_heads == b.layers[i].num_key_value_heads);
    CHECK(a.layers[i].intermediate_size == b.layers[i].intermediate_size);
    CHECK(a.layers[i].kv_layer == b.layers[i].kv_layer);
  }
}

}  // namespace

TEST_CASE("config: the tiny E4B directory") {
  const ModelConfig config = load_model_config(golden_path("config/e4b-tiny"));
  const TextConfig& text = config.text;
  CHECK(text.vocab_size == 712);
  CHECK(text.hidden_size == 64);
  CHECK(text.num_hidden_layers == 12);
  CHECK(text.first_kv_shared_layer == 7);
  CHECK(text.sliding_window == 16);
  CHECK(text.hidden_size_per_layer_input == 8);
  CHECK(text.max_position_embeddings == 4096);
  CHECK(text.final_logit_softcapping == 30.0F);
  CHECK(text.layers[5].type == LayerType::full);
  CHECK(text.layers[5].head_dim == 32);
  CHECK(text.layers[6].head_dim == 16);
  CHECK(text.layers[6].num_key_value_heads == 2);
  CHECK(text.layers[7].intermediate_size == 80);
  for (std::size_t i = 0; i < 7; ++i) CHECK(text.layers[i].kv_layer == i);
  for (std::size_t i = 7; i < 11; ++i) CHECK(text.layers[i].kv_layer == 6);
  CHECK(text.layers[11].kv_layer == 5);
  CHECK(text.sliding_rope.rope_theta == 1e4);
  CHECK(text.sliding_rope.rotated_frequencies(16) == 8);
  CHECK(text.full_rope.rope_theta == 1e6);
  CHECK(text.full_rope.rotated_frequencies(32) == 4);
  CHECK(text.full_rope.rotated_frequencies(512) == 64);

  REQUIRE(config.vision);
  CHECK(config.vision->hidden_size == 48);
  CHECK(config.vision->head_dim == 16);
  CHECK(config.vision->position_embedding_size == 128);
  CHECK(config.vision->use_clipped_linears);
  CHECK(config.vision->rope_theta == 100.0);
  REQUIRE(config.audio);
  CHECK(config.audio->subsampling_conv_channels == std::vector<std::size_t>{128, 8});
  CHECK(config.audio->attention_logit_cap == 6.0F);
  CHECK(config.audio->gradient_clipping == 5.0F);
  CHECK(config.audio->head_dim() == 16);
  CHECK(config.tokens.image == 9);
  CHECK(config.tokens.eoa == 11);
  CHECK(config.tokens.video == 13);
  CHECK(config.generation.eos_token_ids == std::vector<TokenId>{1, 6, 21});
  CHECK(config.generation.top_k == 64);
  CHECK(config.generation.top_p == 0.95F);
  CHECK(config.generation.suppress_tokens.empty());
  CHECK(config.image_processor.max_soft_tokens == 70);
}

TEST_CASE("config: the tiny E2B directory doubles the MLP of shared-KV layers") {
  const TextConfig text = load_model_config(golden_path("config/e2b-tiny")).text;
  CHECK(text.first_kv_shared_layer == 6);
  CHECK(text.layers[5].intermediate_size == 64);
  CHECK(text.layers[6].intermediate_size == 128);
  CHECK(text.layers[6].kv_layer == 5);
  CHECK(text.layers[9].kv_layer == 4);
  CHECK(text.layers[9].num_key_value_heads == 1);
}

TEST_CASE("config: both spellings of the head sizes give the same model") {
  for (const std::string variant : {"e4b-tiny", "e2b-tiny"}) {
    const auto dir = golden_path("config/" + variant);
    const ModelConfig per_layer = parse_model_config({read_text(dir / "config_per_layer.json"), {}, {}, {}});
    check_same_layers(per_layer.text, load_model_config(dir).text);
  }
}

TEST_CASE("config: per_layer_config may override key-value heads") {
  json config = json::parse(read_text(golden_path("config/e4b-tiny/config_per_layer.json")));
  for (const char* layer : {"5", "11"})
    config["text_config"]["per_layer_config"][layer]["num_key_value_heads"] = 1;
  const TextConfig text = parse(config).text;
  CHECK(text.layers[5].num_key_value_heads == 1);
  CHECK(text.layers[4].num_key_value_heads == 2);
}

TEST_CASE("config: eos_token_id may be a number, a list, or stand in config.json") {
  const auto eos = [](const std::string& generation) {
    return parse_model_config({tiny_config().dump(), generation, {}, {}}).generation;
  };
  CHECK(eos(R"({"eos_token_id": 6})").eos_token_ids == std::vector<TokenId>{6});
  CHECK(eos(R"({"eos_token_id": [21, 1, 6, 1]})").eos_token_ids == std::vector<TokenId>{1, 6, 21});
  CHECK(eos("{}").eos_token_ids == std::vector<TokenId>{1});
  CHECK(eos(R"({"suppress_tokens": [9, 7]})").suppress_tokens == std::vector<TokenId>{7, 9});
  CHECK(model_error([&] { eos(R"({"eos_token_id": 712})"); }) ==
        "generation_config.json: key 'eos_token_id' is 712, expected an integer from 0 to 711");
}

TEST_CASE("config: processor settings come from either file, or from the vision tower") {
  const std::string config = tiny_config().dump();
  const auto budget = [&](std::optional<std::string> processor, std::optional<std::string> preprocessor) {
    return parse_model_config({config, {}, std::move(processor), std::move(preprocessor)})
        .image_processor.max_soft_tokens;
  };
  CHECK(budget({}, {}) == 280);
  CHECK(budget({}, R"({"max_soft_tokens": 560})") == 560);
  CHECK(budget(R"({"image_processor": {"max_soft_tokens": 70}})", R"({"max_soft_tokens": 560})") == 70);
  CHECK(budget(R"({"audio_seq_length": 750})", R"({"max_soft_tokens": 560})") == 560);
  CHECK(model_error([&] { budget({}, R"({"max_soft_tokens": 100})"); }) ==
        "preprocessor_config.json: key 'max_soft_tokens' is 100, expected 70, 140, 280, 560 or 1120");
  CHECK(model_error([&] { budget({}, R"({"patch_size": 14})"); }) ==
        "preprocessor_config.json: key 'patch_size' is 14, expected 16, as in config.json");
}

TEST_CASE("config: models outside this engine are refused by the key") {
  const auto text = [](const std::string& key, const json& value) {
    return error_with([&](json& config) { config["text_config"][key] = value; });
  };
  CHECK(text("enable_moe_block", true) ==
        "config.json: key 'text_config.enable_moe_block' is true, expected false: this engine does not "
        "support it");
  CHECK(text("attention_k_eq_v", true).find("'text_config.attention_k_eq_v' is true") != std::string::npos);
  CHECK(text("use_bidirectional_attention", "vision")
            .find("'text_config.use_bidirectional_attention' is \"vision\"") != std::string::npos);
  CHECK(text("hidden_activation", "relu") ==
        "config.json: key 'text_config.hidden_activation' is \"relu\", expected \"gelu_pytorch_tanh\"");
  CHECK(text("tie_word_embeddings", false).find("tie_word_embeddings' is false") != std::string::npos);
  CHECK(error_with(
            [](json& c) { c["text_config"]["rope_parameters"]["full_attention"]["rope_type"] = "yarn"; }) ==
        "config.json: key 'text_config.rope_parameters.full_attention.rope_type' is \"yarn\", expected "
        "\"default\" or "
        "\"proportional\"");
  CHECK(error_with([](json& c) {
          c["vision_config"]["hidden_activation"] = "quick_gelu";
        }).find("vision_config") != std::string::npos);
  CHECK(text("some_future_key", json::array({1, 2})).empty());
}

TEST_CASE("config: numbers out of range and contradictions are refused") {
  const auto text = [](const std::string& key, const json& value) {
    return error_with([&](json& config) { config["text_config"][key] = value; });
  };
  CHECK(text("hidden_size", -4) ==
        "config.json: key 'text_config.hidden_size' is -4, expected an integer from 1 to 131072");
  for (const json& value : {json(0), json(1.5), json(1ULL << 63), json("64"), json::array({64})}) {
    CHECK(text("hidden_size", value).find("config.json: key 'text_config.hidden_size' is ") == 0);
  }
  CHECK(text("hidden_size", nullptr) == "config.json: key 'text_config.hidden_size' is missing");
  CHECK(text("num_hidden_layers", 13).find("has 12 entries, expected 13") != std::string::npos);
  CHECK(text("num_hidden_layers", 11).find("has 12 entries, expected 11") != std::string::npos);
  CHECK(text("num_kv_shared_layers", 12).find("expected an integer from 0 to 11") != std::string::npos);
  CHECK(text("num_kv_shared_layers", 8).find("no layer before the shared ones has its type") !=
        std::string::npos);
  CHECK(text("num_key_value_heads", 3).find("expected a multiple") != std::string::npos);
  CHECK(text("head_dim", 15).find("expected an even number") != std::string::npos);
  CHECK(text("pad_token_id", 712).find("expected an integer from 0 to 711") != std::string::npos);
  CHECK(text("rms_norm_eps", "NaN").find("rms_norm_eps") != std::string::npos);
  CHECK(text("per_layer_config", {{"12", json::object()}}).find("names no layer, expected 0 to 11") !=
        std::string::npos);
  CHECK(text("per_layer_config", {{"5", {{"head_dim", 64}}}}).find("reads the keys of layer 5") !=
        std::string::npos);
  CHECK(error_with([](json& c) { c.erase("image_token_id"); }) ==
        "config.json: key 'image_token_id' is missing, and the release's id 258880 is outside the vocabulary "
        "of 712");
  CHECK(error_with([](json& c) { c["vision_config"]["head_dim"] = 18; }).find("expected a multiple of 4") !=
        std::string::npos);
  CHECK(model_error([] {
          parse_model_config({"[1]", {}, {}, {}});
        }) == "config.json: the document is [1], expected an object");
  CHECK(model_error([] { parse_model_config({"{", {}, {}, {}}); }).find("config.json: not valid JSON") == 0);
  CHECK(model_error([] { load_model_config("/nonexistent"); }) == "config.json: not found in /nonexistent");
}
