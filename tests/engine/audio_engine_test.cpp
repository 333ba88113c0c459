#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "engine/answer_builder.h"
#include "engine/config.h"
#include "engine/engine.h"
#include "engine/error.h"
#include "engine/sampling/sampler.h"
#include "engine/text/decoder.h"
#include "engine/tokenizer.h"
#include "engine/towers.h"
#include "tests/engine/golden_media.h"
#include "tests/support/catch.h"
#include "tests/support/golden_kit.h"

namespace {

using namespace reelfolio::engine;
using Kind = SoftTokenSource::Kind;
using reelfolio::test::golden_json;
using reelfolio::test::golden_kits;
using reelfolio::test::GoldenTensors;
using reelfolio::test::worst_difference;

std::filesystem::path model_dir() {
  return golden_kits("text").front() / "model";
}

std::unique_ptr<Engine> load(ops::WeightType weights = ops::WeightType::f32) {
  EngineOptions options;
  options.weights = weights;
  options.threads = 1;
  return Engine::load(model_dir(), options);
}

std::shared_ptr<const AudioClip> golden_clip() {
  return std::make_shared<AudioClip>(
      reelfolio::test::read_wav(golden_kits("audio").front() / "golden" / "audio_0.wav"));
}

std::shared_ptr<const RgbImage> golden_image(int index) {
  const auto name = "image_" + std::to_string(index) + ".png";
  return std::make_shared<RgbImage>(
      reelfolio::test::read_png(golden_kits("vision").front() / "golden" / name));
}

/// The conversation of multimodal.json.
std::vector<Message> golden_messages() {
  return {
      {Role::system, {TextPart{"You are a clerk."}}},
      {Role::user,
       {TextPart{"Compare the two images:"}, ImagePart{golden_image(0), 70}, ImagePart{golden_image(1), 70},
        TextPart{"and the audio:"}, AudioPart{golden_clip()}, TextPart{"What is the total?"}}}};
}

std::shared_ptr<const AudioClip> tone(std::size_t samples, double hz) {
  auto clip = std::make_shared<AudioClip>();
  for (std::size_t i = 0; i < samples; ++i) {
    clip->samples.push_back(0.3F *
                            static_cast<float>(std::sin(static_cast<double>(i) * hz / 16000 * 6.2831853)));
  }
  return clip;
}

Request listen(std::shared_ptr<const AudioClip> clip, const std::string& question, int max_tokens = 8) {
  Request request;
  request.messages = {{Role::user, {AudioPart{std::move(clip)}, TextPart{question}}}};
  request.max_tokens = max_tokens;
  return request;
}

std::shared_ptr<const RgbImage> picture(int width, int height, int seed) {
  auto image = std::make_shared<RgbImage>();
  image->width = width;
  image->height = height;
  for (int i = 0; i < width * height * 3; ++i) {
    image->pixels.push_back(static_cast<std::uint8_t>((i * 7 + i / 50 * seed) % 251));
  }
  return image;
}

std::string refusal(Engine& engine, const Request& request) {
  try {
    engine.answer({&request, 1});
  } catch (const RequestError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("sound: the golden prompt of text, two images and sound, from files to greedy tokens") {
  const auto kit = golden_kits("text").front();
  const auto golden = golden_json(kit / "golden" / "multimodal.json");
  const GoldenTensors tensors(kit / "golden" / "multimodal.safetensors");
  const ModelConfig config = load_model_config(model_dir());
  const Tokenizer tokenizer = Tokenizer::load(model_dir());
  const Checkpoint checkpoint = Checkpoint::open(model_dir());
  ops::set_num_threads(1);

  const std::vector<SoftTokenSource> sources = {SoftTokenSource::picture(golden_image(0), 70, Kind::image),
                                                SoftTokenSource::picture(golden_image(1), 70, Kind::image),
                                                SoftTokenSource::sound(golden_clip())};
  Towers towers(config, checkpoint, ops::WeightType::f32);
  std::vector<int> counts;
  for (const SoftTokenSource& source : sources) counts.push_back(towers.soft_tokens(source));
  std::vector<TokenId> ids = tokenizer.encode(render_chat(golden_messages(), counts, {}));
  REQUIRE(ids == golden.at("input_ids").get<std::vector<TokenId>>());

  text::TextDecoder decoder(config, checkpoint, ops::WeightType::f32);
  MatrixBuffer inputs(ids.size(), config.text.hidden_size);
  decoder.embed(ids, inputs.view());
  std::size_t position = 0;
  const auto is_soft = [&](TokenId id) { return id == config.tokens.image || id == config.tokens.audio; };
  CHECK_FALSE(towers.has_loaded_audio());
  for (const SoftTokenSource& source : sources) {
    const MatrixBuffer rows = towers.encode(source, [] {});
    for (std::size_t r = 0; r < rows.rows(); ++r) {
      while (!is_soft(ids[position])) ++position;
      std::copy(rows.row(r).begin(), rows.row(r).end(), inputs.row(position++).begin());
    }
  }
  CHECK(towers.has_loaded_audio());
  const auto flat = [](const MatrixBuffer& matrix) {
    return std::vector<float>(matrix.view().data, matrix.view().data + matrix.rows() * matrix.cols());
  };
  const double embeds = worst_difference(flat(inputs), tensors.get("inputs_embeds").values);
  INFO("inputs_embeds: largest difference " << embeds);
  CHECK(embeds < 5e-4);

  text::KvCache cache = decoder.make_cache();
  MatrixBuffer logits;
  const text::SequenceStep prompt{&cache, inputs.view(), ids, text::LogitRows::all};
  decoder.forward({&prompt, 1}, logits);
  const double worst = worst_difference(flat(logits), tensors.get("logits").values);
  INFO("logits: largest difference " << worst);
  CHECK(worst < 5e-3);

  std::vector<TokenId> greedy = {sampling::greedy(std::as_const(logits).row(logits.rows() - 1))};
  const auto expected = golden.at("greedy_24").get<std::vector<TokenId>>();
  while (greedy.size() < expected.size()) {
    const TokenId last = greedy.back();
    MatrixBuffer row(1, config.text.hidden_size);
    decoder.embed({&last, 1}, row.view());
    const text::SequenceStep step{&cache, row.view(), {&last, 1}, text::LogitRows::last};
    decoder.forward({&step, 1}, logits);
    greedy.push_back(sampling::greedy(std::as_const(logits).row(0)));
  }
  CHECK(greedy == expected);

  // The same through the engine.
  Request request;
  request.messages = golden_messages();
  request.max_tokens = static_cast<int>(expected.size());
  AnswerBuilder builder(tokenizer, {tokenizer.id("<|channel>"), tokenizer.id("<channel|>")}, {});
  for (const TokenId id : expected) builder.push(id);
  Answer answer;
  builder.finish(answer);
  const auto engine = load();
  CHECK(engine->answer({&request, 1}).at(0).text == answer.text);
  CHECK(engine->stats().audio_clips == 1);
  CHECK(engine->stats().images == 2);
}

TEST_CASE("sound: a request's answer is the same alone and in company, a clip is heard once") {
  for (const auto weights : {ops::WeightType::f32, ops::WeightType::bf16, ops::WeightType::int8}) {
    INFO(ops::weight_type_name(weights));
    const auto engine = load(weights);
    const auto clip = tone(30000, 440);
    std::vector<Request> requests = {
        listen(clip, "what is said?"), listen(clip, "and who says it, in short?"),
        listen(tone(30000, 880), "what is said?"), listen(tone(161, 100), "and here?")};
    Request both;
    VideoPart video;
    for (int i = 0; i < 3; ++i) video.frames.push_back({picture(60, 40, i + 1), 0.5 * i});
    both.messages = {{Role::user, {video, AudioPart{clip}, TextPart{"what happens?"}}}};
    both.max_tokens = 8;
    requests.push_back(both);
    const auto together = engine->answer(requests);
    CHECK(engine->stats().audio_clips == 3);
    CHECK(engine->stats().images == 3);
    CHECK(together[0].shared_prompt_tokens + together[1].shared_prompt_tokens > 40);
    for (std::size_t i = 0; i < requests.size(); ++i) {
      INFO("request " << i);
      const Answer alone = load(weights)->answer({&requests[i], 1}).at(0);
      CHECK(alone.text == together[i].text);
      CHECK(alone.prompt_tokens == together[i].prompt_tokens);
    }
    // Remembered from call to call while it lives; frames of a video are.
    engine->answer({&requests[1], 1});
    engine->answer({&both, 1});
    CHECK(engine->stats().audio_clips == 3);
    CHECK(engine->stats().images == 3);
  }
}

TEST_CASE("sound: what cannot be heard is refused before any work, naming what is wrong") {
  const auto engine = load();
  const auto refuse = [&](std::vector<float> samples, const std::string& why) {
    auto clip = std::make_shared<AudioClip>();
    clip->samples = std::move(samples);
    const std::string message = refusal(*engine, listen(clip, "what is said?"));
    INFO(message);
    CHECK(message.find(why) != std::string::npos);
  };
  refuse({}, "0 samples, expected 161 to 480000");
  refuse({0.5F}, "1 samples");
  refuse(std::vector<float>(160), "160 samples");
  refuse(std::vector<float>(480001), "480001 samples");
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity(), 1e30F}) {
    std::vector<float> samples(2000, 0.1F);
    samples[1234] = bad;
    refuse(samples, "sample 1234 of a clip");
  }
  CHECK(refusal(*engine, listen(nullptr, "what?")) == "an audio part holds no sound");
  Request video;
  video.messages = {{Role::user, {VideoPart{{{nullptr, 0.0}}}, TextPart{"what happens?"}}}};
  CHECK(refusal(*engine, video) != "");
  CHECK(engine->stats().audio_clips == 0);
  CHECK(engine->stats().prefill_tokens == 0);
  // Overloaded and silent sound is heard.
  CHECK(refusal(*engine, listen(std::make_shared<AudioClip>(AudioClip{std::vector<float>(400, 3.0F)}),
                                "loud?")) == "");
  CHECK(refusal(*engine,
                listen(std::make_shared<AudioClip>(AudioClip{std::vector<float>(400)}), "silent?")) == "");
}

TEST_CASE("sound: a checkpoint without the audio tower answers text and refuses sound") {
  const ModelConfig config = load_model_config(model_dir());
  const Checkpoint whole = Checkpoint::open(model_dir());
  std::vector<TensorView> tensors;
  for (const TensorView& tensor : whole.tensors()) {
    if (!tensor.name.starts_with("model.audio_tower.")) tensors.push_back(tensor);
  }
  const Checkpoint deaf = Checkpoint::from_memory("deaf", tensors, nullptr);
  const Towers towers(config, deaf, ops::WeightType::f32);
  CHECK_THROWS_AS(towers.soft_tokens(SoftTokenSource::sound(tone(2000, 440))), RequestError);
  // Half a tower is a damaged model.
  for (const TensorView& tensor : whole.tensors()) {
    if (tensor.name == "model.audio_tower.output_proj.bias") tensors.push_back(tensor);
  }
  const Checkpoint damaged = Checkpoint::from_memory("damaged", tensors, nullptr);
  CHECK_THROWS_AS(Towers(config, damaged, ops::WeightType::f32), ModelError);
}
