#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/audio/audio_tower.h"
#include "engine/audio/local_attention.h"
#include "engine/audio/mel_features.h"
#include "engine/config.h"
#include "engine/error.h"
#include "engine/ops/matmul.h"
#include "engine/safetensors.h"
#include "tests/engine/golden_media.h"
#include "tests/engine/invariance.h"
#include "tests/engine/random_values.h"
#include "tests/support/catch.h"
#include "tests/support/golden_kit.h"

namespace {

using namespace reelfolio::engine;
using reelfolio::test::golden_json;
using reelfolio::test::golden_kits;
using reelfolio::test::GoldenTensor;
using reelfolio::test::GoldenTensors;
using reelfolio::test::read_wav;
using reelfolio::test::worst_difference;

/// The suggested limits of the reference kit for f32: features near 7, tower values near 11.
constexpr double kFeatureLimit = 2e-3;
constexpr double kTowerLimit = 2e-4;

std::vector<float> dense(ConstMatrix matrix) {
  std::vector<float> values;
  for (std::size_t r = 0; r < matrix.rows; ++r) {
    values.insert(values.end(), matrix.row(r).begin(), matrix.row(r).end());
  }
  return values;
}

bool same_bits(ConstMatrix a, ConstMatrix b) {
  if (a.rows != b.rows) return false;
  for (std::size_t r = 0; r < a.rows; ++r) {
    if (!reelfolio::test::same_bits(a.row(r), b.row(r))) return false;
  }
  return true;
}

struct Kit {
  explicit Kit(const std::filesystem::path& dir)
      : config(load_model_config(dir / "model")), checkpoint(Checkpoint::open(dir / "model")) {}

  audio::AudioTower tower(ops::WeightType type = ops::WeightType::f32) const {
    return audio::AudioTower(config, checkpoint, type);
  }

  ModelConfig config;
  Checkpoint checkpoint;
};

std::filesystem::path first_kit() {
  return golden_kits("audio").front();
}

std::vector<float> first_clip() {
  return read_wav(first_kit() / "golden" / "audio_0.wav").samples;
}

double cosine(ConstMatrix a, ConstMatrix b) {
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t r = 0; r < a.rows; ++r) {
    for (std::size_t c = 0; c < a.cols; ++c) {
      ab += static_cast<double>(a.at(r, c)) * b.at(r, c);
      aa += static_cast<double>(a.at(r, c)) * a.at(r, c);
      bb += static_cast<double>(b.at(r, c)) * b.at(r, c);
    }
  }
  return ab / std::sqrt(aa * bb);
}

}  // namespace

TEST_CASE("mel features: golden clips, frames and soft tokens of golden sample counts") {
  for (const auto& kit : golden_kits("audio")) {
    INFO(kit.string());
    const GoldenTensors golden(kit / "golden" / "audio.safetensors");
    const auto settings = golden_json(kit / "golden" / "audio.json");
    std::size_t clips = 0;
    for (const auto& clip : settings.at("clips")) {
      const auto samples = read_wav(kit / "golden" / clip.at("file").get<std::string>()).samples;
      REQUIRE(samples.size() == clip.at("samples").get<std::size_t>());
      const MatrixBuffer features = audio::mel_features(samples);
      const GoldenTensor expected = golden.get(std::to_string(clips++) + ".mel");
      REQUIRE(features.rows() == expected.shape[0]);
      const double worst = worst_difference(dense(features.view()), expected.values);
      INFO("largest difference " << worst);
      CHECK(worst < kFeatureLimit);
      CHECK(audio::num_soft_tokens(samples.size()) == clip.at("soft_tokens").get<std::size_t>());
    }
    CHECK(clips > 0);
    for (const auto& count : settings.at("token_counts")) {
      const auto samples = count.at("samples").get<std::size_t>();
      INFO(samples << " samples");
      CHECK(audio::num_mel_frames(samples) == count.at("valid_mel_frames").get<std::size_t>());
      CHECK(audio::num_soft_tokens(samples) == count.at("soft_tokens").get<std::size_t>());
    }
  }
}

TEST_CASE("mel features: a tone lies in the filter around it, silence is the floor, level is linear") {
  std::vector<float> tone(4000);
  for (std::size_t i = 0; i < tone.size(); ++i) {
    tone[i] =
        0.5F * static_cast<float>(std::sin(2 * 3.14159265358979 * 1000.0 * static_cast<double>(i) / 16000));
  }
  const MatrixBuffer features = audio::mel_features(tone);
  const auto row = features.row(10);
  const auto loudest = static_cast<std::size_t>(std::max_element(row.begin(), row.end()) - row.begin());
  // 1000 Hz is mel 1000.0 of 2840.0, in steps of 2840 / 129: corner 45.4, which filter 44 has in its middle.
  CHECK(loudest == 44);
  for (float& sample : tone) sample *= 2.0F;
  CHECK(audio::mel_features(tone).row(10)[loudest] - row[loudest] == Approx(std::log(2.0)).margin(1e-3));

  const MatrixBuffer silence = audio::mel_features(std::vector<float>(1000));
  REQUIRE(silence.rows() == 6);
  for (const float value : dense(silence.view())) CHECK(value == Approx(std::log(0.001)));
  CHECK(audio::mel_features({}).rows() == 0);
  CHECK(audio::mel_features(std::vector<float>(160)).rows() == 0);
  CHECK(audio::mel_features(std::vector<float>(161)).rows() == 1);
  CHECK(audio::mel_features(std::vector<float>(900000)).rows() == 2999);
}

TEST_CASE("audio tower: every layer and block of the golden clips") {
  ops::set_num_threads(2);
  for (const auto& dir : golden_kits("audio")) {
    INFO(dir.string());
    const Kit kit(dir);
    const GoldenTensors golden(dir / "golden" / "audio.safetensors");
    const audio::AudioTower tower = kit.tower();
    double worst_of_all = 0;
    std::size_t compared = 0;
    for (std::size_t clip = 0; golden.has(std::to_string(clip) + ".mel"); ++clip) {
      const std::string prefix = std::to_string(clip) + ".";
      GoldenTensor mel = golden.get(prefix + "mel");
      std::map<std::string, std::vector<float>> steps;
      const MatrixBuffer soft_tokens = tower.encode(
          ConstMatrix(mel.values.data(), mel.shape[0], mel.cols()),
          [&](std::string_view name, ConstMatrix values) { steps[std::string(name)] = dense(values); });
      steps["projected"] = dense(soft_tokens.view());
      for (const auto& [name, values] : steps) {
        std::string golden_name = name;
        // The kit calls the insides of layer 0 "layer0.attn" and so on, and has those of no other.
        if (std::count(name.begin(), name.end(), '.') == 2) golden_name.erase(golden_name.find('.'), 1);
        if (!golden.has(prefix + golden_name)) continue;
        const double worst = worst_difference(values, golden.get(prefix + golden_name).values);
        INFO(prefix << golden_name << ": largest difference " << worst);
        CHECK(worst < kTowerLimit);
        worst_of_all = std::max(worst_of_all, worst);
        ++compared;
      }
    }
    INFO("largest difference of all " << worst_of_all);
    // subsample, layers, tower and projected of each clip, four insides of the first.
    CHECK(compared >= 3 + kit.config.audio->num_hidden_layers + 4);
  }
}

TEST_CASE("audio tower: the same bits for any number of threads, for every type of weights") {
  const Kit kit(first_kit());
  const std::vector<float> samples = first_clip();
  for (const auto type : {ops::WeightType::f32, ops::WeightType::bf16, ops::WeightType::int8}) {
    INFO(ops::weight_type_name(type));
    ops::set_num_threads(1);
    const MatrixBuffer features = audio::mel_features(samples);
    const MatrixBuffer one = kit.tower(type).encode(features.view());
    for (const int threads : {2, 3}) {
      INFO(threads << " threads");
      ops::set_num_threads(threads);
      const MatrixBuffer again = audio::mel_features(samples);
      CHECK(same_bits(features.view(), again.view()));
      CHECK(same_bits(one.view(), kit.tower(type).encode(again.view()).view()));
    }
    ops::set_num_threads(1);
    const MatrixBuffer exact = kit.tower().encode(features.view());
    const double likeness = cosine(exact.view(), one.view());
    INFO("cosine " << likeness);
    CHECK(likeness > (type == ops::WeightType::f32    ? 0.9999999
                      : type == ops::WeightType::bf16 ? 0.999
                                                      : 0.99));
  }
}

TEST_CASE("audio tower: a soft token depends on the sound up to its own frames alone") {
  const Kit kit(first_kit());
  const audio::AudioTower tower = kit.tower();
  const MatrixBuffer features = audio::mel_features(first_clip());
  const MatrixBuffer whole = tower.encode(features.view());
  for (const std::size_t frames : {1, 2, 3, 4, 5, 8, 47, 48, 66, 131}) {
    INFO(frames << " frames");
    const MatrixBuffer part = tower.encode(features.view().row_block(0, frames));
    REQUIRE(part.rows() == (frames + 3) / 4);
    // Token t reads frames up to 4t + 3, through two convolutions that look one step ahead.
    const std::size_t complete = frames / 4;
    CHECK(same_bits(part.view().row_block(0, complete), whole.view().row_block(0, complete)));
    for (const float value : dense(part.view())) CHECK(std::isfinite(value));
  }
}

TEST_CASE("audio tower: silence and clipped sound give finite soft tokens") {
  const Kit kit(first_kit());
  std::vector<float> square(20000);
  for (std::size_t i = 0; i < square.size(); ++i) square[i] = i / 40 % 2 == 0 ? 1.0F : -1.0F;
  for (const auto type : {ops::WeightType::f32, ops::WeightType::int8}) {
    const audio::AudioTower tower = kit.tower(type);
    for (const auto& samples : {std::vector<float>(20000), square}) {
      const MatrixBuffer soft_tokens = tower.encode(audio::mel_features(samples).view());
      CHECK(soft_tokens.rows() == audio::num_soft_tokens(samples.size()));
      for (const float value : dense(soft_tokens.view())) {
        if (!std::isfinite(value)) FAIL("not finite");
      }
    }
  }
}

TEST_CASE("audio tower: missing and misshapen tensors and settings of other models are refused") {
  const Kit kit(first_kit());
  const auto with = [&](const std::string& name, auto change) {
    std::vector<TensorView> tensors;
    for (TensorView tensor : kit.checkpoint.tensors()) {
      if (tensor.name != name || change(tensor)) tensors.push_back(tensor);
    }
    return Checkpoint::from_memory("kit", std::move(tensors), nullptr);
  };
  const auto refused = [&](const Checkpoint& checkpoint, const ModelConfig& config) {
    CHECK_THROWS_AS(audio::AudioTower(config, checkpoint, ops::WeightType::f32), ModelError);
    CHECK_THROWS_AS(audio::AudioTower::check(config, checkpoint, ops::WeightType::f32), ModelError);
  };
  const std::string layer = "model.audio_tower.layers.1.";
  for (const std::string& name :
       {layer + "norm_out.weight", layer + "self_attn.post.linear.weight",
        layer + "lconv1d.depthwise_conv1d.weight", layer + "self_attn.relative_k_proj.weight",
        std::string("model.audio_tower.output_proj.bias"),
        std::string("model.audio_tower.subsample_conv_projection.layer1.conv.weight"),
        std::string("model.embed_audio.embedding_projection.weight")}) {
    INFO(name);
    refused(with(name, [](TensorView&) { return false; }), kit.config);
    const auto reshape = [](TensorView& tensor) {
      tensor.shape.insert(tensor.shape.begin(), 1);
      return true;
    };
    refused(with(name, reshape), kit.config);
  }
  audio::AudioTower::check(kit.config, kit.checkpoint, ops::WeightType::int8);

  const auto changed = [&](auto change) {
    ModelConfig config = kit.config;
    change(*config.audio);
    refused(kit.checkpoint, config);
  };
  changed([](AudioConfig& audio) { audio.attention_context_right = 1; });
  changed([](AudioConfig& audio) { audio.attention_context_left = 12; });
  changed([](AudioConfig& audio) { audio.attention_context_left = 1; });
  changed([](AudioConfig& audio) { audio.attention_context_left = audio.attention_chunk_size = 1000; });
  ModelConfig deaf = kit.config;
  deaf.audio.reset();
  refused(kit.checkpoint, deaf);

  // A bound is no weight: it may be missing, but not above its partner.
  const std::string bound = layer + "self_attn.q_proj.input_min";
  const Checkpoint unbounded = with(bound, [](TensorView&) { return false; });
  CHECK_NOTHROW(audio::AudioTower(kit.config, unbounded, ops::WeightType::f32));
  const float high = 1e9F;
  const Checkpoint crossed = with(bound, [&](TensorView& tensor) {
    tensor.bytes = std::as_bytes(std::span(&high, 1));
    return true;
  });
  CHECK_THROWS_AS(audio::AudioTower(kit.config, crossed, ops::WeightType::f32), ModelError);
}

TEST_CASE("local attention: agrees with the formula, for any length") {
  using reelfolio::test::normal;
  for (const std::size_t distances : {1, 5, 12, 48}) {
    for (const std::size_t positions : {1, 2, 11, 12, 13, 16, 17, 63, 100}) {
      INFO(distances << " distances, " << positions << " positions");
      audio::LocalAttention shape{3, 20, distances, 4.0F};
      const std::size_t width = shape.heads * shape.head_dim;
      const auto matrix = [&](std::size_t rows, std::size_t cols, unsigned seed) {
        MatrixBuffer buffer(rows, cols);
        const auto values = normal(rows * cols, seed);
        std::copy(values.begin(), values.end(), buffer.view().data);
        return buffer;
      };
      const MatrixBuffer q = matrix(positions, width, 1);
      const MatrixBuffer k = matrix(positions, width, 2);
      const MatrixBuffer v = matrix(positions, width, 3);
      const MatrixBuffer relative = matrix(shape.heads * distances, shape.head_dim, 4);
      MatrixBuffer out(positions, width);
      audio::local_attention(shape, q.view(), k.view(), v.view(), relative.view(), out.view());
      double worst = 0;
      for (std::size_t h = 0; h < shape.heads; ++h) {
        for (std::size_t s = 0; s < positions; ++s) {
          std::vector<double> weights;
          double sum = 0;
          for (std::size_t d = 0; d < std::min(distances, s + 1); ++d) {
            double z = 0;
            for (std::size_t i = 0; i < shape.head_dim; ++i) {
              const std::size_t column = h * shape.head_dim + i;
              z += double(q.row(s)[column]) *
                   (double(k.row(s - d)[column]) + relative.row(h * distances + d)[i]);
            }
            weights.push_back(std::exp(4.0 * std::tanh(z / 4.0)));
            sum += weights.back();
          }
          for (std::size_t i = 0; i < shape.head_dim; ++i) {
            const std::size_t column = h * shape.head_dim + i;
            double expected = 0;
            for (std::size_t d = 0; d < weights.size(); ++d)
              expected += weights[d] / sum * v.row(s - d)[column];
            worst = std::max(worst, std::abs(expected - out.row(s)[column]));
          }
        }
      }
      INFO("largest difference " << worst);
      CHECK(worst < 1e-5);
    }
  }
}
