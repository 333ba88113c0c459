#include "engine/bench.h"

#include <cmath>
#include <filesystem>
#include <set>
#include <string>
#include <utility>

#include "engine/audio/audio_tower.h"
#include "engine/audio/mel_features.h"
#include "engine/error.h"
#include "engine/text/decoder.h"
#include "engine/vision/vision_tower.h"
#include "tests/support/catch.h"

using namespace reelfolio::engine;

namespace {

/// Seconds' worth of arithmetic in all: the pattern of E4B in small.
SyntheticShape small_shape() {
  SyntheticShape shape;
  shape.name = "small";
  shape.vocab_size = 512;
  shape.hidden_size = 32;
  shape.num_hidden_layers = 6;
  shape.layer_pattern = 3;
  shape.intermediate_size = 64;
  shape.num_attention_heads = 2;
  shape.num_key_value_heads = 1;
  shape.head_dim = 8;
  shape.global_head_dim = 16;
  shape.num_kv_shared_layers = 3;
  shape.hidden_size_per_layer_input = 16;
  shape.sliding_window = 24;
  shape.vision_hidden_size = 32;
  shape.vision_intermediate_size = 64;
  shape.vision_layers = 1;
  shape.vision_heads = 2;
  shape.vision_head_dim = 16;
  shape.audio_hidden_size = 32;
  shape.audio_layers = 1;
  shape.audio_heads = 2;
  shape.audio_output_dims = 24;
  return shape;
}

BenchOptions small_options() {
  BenchOptions options;
  options.model = small_shape();
  options.repeats = 1;
  options.context = 40;
  options.limits = {1 << 20, 8, 64, 64};
  return options;
}

bool is_positive(double value) {
  return std::isfinite(value) && value > 0;
}

}  // namespace

TEST_CASE("synthetic checkpoint: the release's shapes have the release's sizes") {
  struct Expected {
    const char* name;
    std::size_t table_columns, down_proj_columns, last_down_proj_columns;
  };
  const Expected expected[] = {{"e4b", 10752, 10240, 10240}, {"e2b", 8960, 6144, 12288}};
  for (const Expected& each : expected) {
    CAPTURE(each.name);
    const ModelConfig config = synthetic_config(find_synthetic_shape(each.name).value());
    const Checkpoint checkpoint = make_synthetic_checkpoint(config, each.name);
    const std::string text = "model.language_model.";
    const auto columns = [&](const std::string& name) { return checkpoint.require(name).shape.back(); };
    CHECK(columns(text + "embed_tokens_per_layer.weight") == each.table_columns);
    CHECK(columns(text + "layers.0.mlp.down_proj.weight") == each.down_proj_columns);
    CHECK(columns(text + "layers." + std::to_string(config.text.num_hidden_layers - 1) +
                  ".mlp.down_proj.weight") == each.last_down_proj_columns);
    CHECK(checkpoint.find(text + "layers." + std::to_string(config.text.first_kv_shared_layer - 1) +
                          ".self_attn.k_proj.weight") != nullptr);
    CHECK(checkpoint.find(text + "layers." + std::to_string(config.text.first_kv_shared_layer) +
                          ".self_attn.k_proj.weight") == nullptr);
    CHECK(checkpoint.require("model.vision_tower.patch_embedder.position_embedding_table").shape ==
          std::vector<std::size_t>{2, 10240, 768});
  }
  CHECK_FALSE(find_synthetic_shape("e8b"));
}

TEST_CASE("synthetic checkpoint: all of its addresses can be read, and again once released") {
  const ModelConfig config = synthetic_config(find_synthetic_shape("e4b").value());
  const Checkpoint checkpoint = make_synthetic_checkpoint(config, "synthetic");
  const TensorView& norm = checkpoint.require("model.language_model.norm.weight");
  const TensorView& scalar = checkpoint.require("model.language_model.layers.3.layer_scalar");
  // The largest tensor spans the block of random numbers many times.
  const TensorView& table = checkpoint.require("model.language_model.embed_tokens_per_layer.weight");
  std::vector<float> first(64);
  std::vector<float> last(64);
  read_f32(table, 0, first);
  read_f32(table, table.num_elements() - last.size(), last);
  const auto all_small_and_not_all_zero = [](const std::vector<float>& values) {
    std::set<float> seen(values.begin(), values.end());
    return seen.size() > values.size() / 2 && *seen.begin() >= -0.1F && *seen.rbegin() <= 0.1F;
  };
  CHECK(all_small_and_not_all_zero(first));
  CHECK(all_small_and_not_all_zero(last));
  for (const TensorView* tensor : {&norm, &scalar, &table}) checkpoint.release(*tensor);
  std::vector<float> ones(norm.num_elements());
  read_f32(norm, ones);
  CHECK(ones == std::vector<float>(ones.size(), 1.0F));
  float factor = 0;
  read_f32(scalar, {&factor, 1});
  CHECK(factor == Approx(0.7F).epsilon(0.01));
  std::vector<float> again(64);
  read_f32(table, 0, again);
  CHECK(again == first);
}

TEST_CASE("synthetic checkpoint: activations of the decoder stay finite and normal") {
  const ModelConfig config = synthetic_config(small_shape());
  const Checkpoint checkpoint = make_synthetic_checkpoint(config, "synthetic");
  text::TextDecoder decoder(config, checkpoint, ops::WeightType::f32);
  const std::vector<TokenId> ids = {5, 300, 17, 17, 88, 401, 9, 2};
  MatrixBuffer inputs(ids.size(), config.text.hidden_size);
  decoder.embed(ids, inputs.view());
  text::KvCache cache = decoder.make_cache();
  MatrixBuffer logits;
  std::size_t seen = 0;
  const text::SequenceStep step{&cache, std::as_const(inputs).view(), ids, text::LogitRows::all};
  decoder.forward({&step, 1}, logits, [&](std::string_view name, std::size_t layer, ConstMatrix values) {
    CAPTURE(std::string(name), layer);
    for (std::size_t r = 0; r < values.rows; ++r) {
      double squares = 0;
      for (const float value : values.row(r)) {
        if (value != 0.0F && !std::isnormal(value)) FAIL("value " << value << " in row " << r);
        squares += static_cast<double>(value) * static_cast<double>(value);
      }
      const double rms = std::sqrt(squares / static_cast<double>(values.cols));
      CHECK(rms > 1e-3);
      CHECK(rms < 1e3);
      ++seen;
    }
  });
  CHECK(seen > ids.size() * config.text.num_hidden_layers);
  REQUIRE(logits.rows() == ids.size());
  for (const float logit : logits.row(ids.size() - 1)) REQUIRE(std::isfinite(logit));
}

TEST_CASE("synthetic checkpoint: it has every tensor that the vision tower wants") {
  const ModelConfig config = synthetic_config(small_shape());
  const Checkpoint checkpoint = make_synthetic_checkpoint(config, "synthetic");
  const vision::VisionTower tower(config, checkpoint, ops::WeightType::f32);
  RgbImage image{96, 48, std::vector<std::uint8_t>(96 * 48 * 3, 77)};
  const MatrixBuffer soft_tokens = tower.encode(vision::preprocess_image(image, 70, true));
  for (const float value : soft_tokens.row(0)) REQUIRE(std::isfinite(value));
}

TEST_CASE("synthetic checkpoint: it has every tensor that the audio tower wants") {
  const ModelConfig config = synthetic_config(small_shape());
  const Checkpoint checkpoint = make_synthetic_checkpoint(config, "synthetic");
  const audio::AudioTower tower(config, checkpoint, ops::WeightType::f32);
  const MatrixBuffer soft_tokens = tower.encode(audio::mel_features(std::vector<float>(5000, 0.1F)).view());
  for (const float value : soft_tokens.row(0)) REQUIRE(std::isfinite(value));
}

TEST_CASE("bench: items are cases and groups of cases") {
  for (const char* item : {"prefill", "decode", "image", "audio", "decode_4", "image_1120"}) {
    CAPTURE(item);
    CHECK(is_bench_item(item));
  }
  for (const char* item : {"", "d", "decode_", "decode_2", "image_7", "prefill_5", "decode_1x"}) {
    CAPTURE(item);
    CHECK_FALSE(is_bench_item(item));
  }
}

TEST_CASE("bench: a small synthetic model gives finite numbers for every case that it can do") {
  for (const ops::WeightType weights : {ops::WeightType::f32, ops::WeightType::bf16, ops::WeightType::int8,
                                        ops::WeightType::int4, ops::WeightType::int2}) {
    CAPTURE(std::string(ops::weight_type_name(weights)));
    BenchOptions options = small_options();
    options.weights = weights;
    // The large budgets take the same path with up to 250 times the work.
    options.only = {"prefill", "decode", "image_70", "audio"};
    std::vector<std::string> begun;
    const BenchResult result = run_bench(options, [&](std::string_view what) { begun.emplace_back(what); });
    CHECK(result.model == "synthetic small");
    CHECK(begun.front() == "load");
    for (const BenchCase& each : bench_cases()) {
      CAPTURE(std::string(each.name));
      const BenchMeasure* measure = result.find(each.name);
      const bool expected = each.name.starts_with("prefill") || each.name.starts_with("decode") ||
                            each.name == "image_70" || each.name == "audio_30s";
      REQUIRE((measure != nullptr) == expected);
      if (measure == nullptr) continue;
      CHECK(is_positive(measure->seconds));
      CHECK(is_positive(measure->value));
      CHECK(is_positive(measure->matmul_fraction));
      CHECK(measure->memory_fraction.has_value() == (each.unit == BenchUnit::tokens_per_second));
      if (measure->memory_fraction) CHECK(is_positive(*measure->memory_fraction));
    }
    CHECK(is_positive(result.load_s));
    CHECK(result.text_weight_bytes > 0);
    CHECK(result.peak_rss_bytes >= result.load_peak_rss_bytes);
    CHECK(result.load_peak_rss_bytes > 0);
    CHECK(is_positive(result.limits.memory_read_bytes_s));
    CHECK(is_positive(result.limits.matmul_f32_op_s));
    CHECK(is_positive(result.limits.matmul_bf16_op_s));
    CHECK(is_positive(result.limits.matmul_int8_op_s));
  }
}

TEST_CASE("bench: a directory without a model is refused") {
  BenchOptions options = small_options();
  options.model = std::filesystem::path("/nonexistent/model");
  CHECK_THROWS_AS(run_bench(options), ModelError);
}
