#include "engine/packed_model.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/error.h"
#include "tests/engine/model_files.h"
#include "tests/support/catch.h"

namespace fs = std::filesystem;
using namespace reelfolio::engine;  // NOLINT: a test of the whole engine
using reelfolio::testing::TempFolder;

namespace {

const fs::path kSource = fs::path(REELFOLIO_SOURCE_DIR) / "samples/model";

std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void pack(const fs::path& target, ops::WeightType weights) {
  pack_model(kSource, target, weights, {}, {});
}

std::string answer(const fs::path& model, ops::WeightType weights) {
  const auto engine = Engine::load(model, {.weights = weights, .threads = 1});
  auto image = std::make_shared<RgbImage>(RgbImage{96, 64, std::vector<std::uint8_t>(96 * 64 * 3, 200)});
  for (std::size_t i = 0; i < image->pixels.size() / 2; i += 3) image->pixels[i] = 20;
  Request request;
  request.messages = {{Role::user, {ImagePart{image, 70}, TextPart{"Describe the image."}}}};
  request.max_tokens = 24;
  return engine->answer({&request, 1}).front().text;
}

}  // namespace

TEST_CASE("packed model: answers exactly as the same weights converted while loading") {
  const TempFolder folder;
  for (const auto weights : {ops::WeightType::int8, ops::WeightType::int4, ops::WeightType::int2}) {
    const fs::path target = folder.path() / std::string(ops::weight_type_name(weights));
    pack(target, weights);
    CHECK(packed_weights(Checkpoint::open(target)) == weights);
    // A packed directory has its own type, whatever is asked for.
    CHECK(answer(target, ops::WeightType::bf16) == answer(kSource, weights));
  }
}

TEST_CASE("packed model: the same source gives the same bytes, in any folder") {
  const TempFolder folder;
  std::size_t last_done = 0;
  std::size_t last_total = 0;
  pack_model(kSource, folder.path() / "a", ops::WeightType::int4,
             [&](std::size_t done, std::size_t total) {
               CHECK(done >= last_done);
               last_done = done;
               last_total = total;
             },
             {});
  CHECK(last_done > last_total / 2);
  fs::create_directory(folder.path() / "b");  // an empty folder may stand there
  pack(folder.path() / "b", ops::WeightType::int4);
  CHECK(contents(folder.path() / "a/packed.safetensors") == contents(folder.path() / "b/packed.safetensors"));
  CHECK(contents(folder.path() / "a/tokenizer.json") == contents(kSource / "tokenizer.json"));
}

TEST_CASE("packed model: a stopped pack leaves nothing, an existing folder stays") {
  const TempFolder folder;
  std::stop_source stop;
  CHECK_THROWS_AS(pack_model(
                      kSource, folder.path() / "a", ops::WeightType::int8,
                      [&](std::size_t, std::size_t) { stop.request_stop(); }, stop.get_token()),
                  PackCancelled);
  CHECK(fs::is_empty(folder.path()));
  std::ofstream(folder.path() / "mine") << "text";
  CHECK_THROWS_WITH(pack(folder.path(), ops::WeightType::int8),
                    folder.path().string() + ": exists and is not an empty folder");
  CHECK(contents(folder.path() / "mine") == "text");
  CHECK_THROWS_AS(pack(folder.path() / "mine/below", ops::WeightType::int8), PackWriteError);
}

TEST_CASE("packed model: damage of any kind is refused with the reason") {
  const TempFolder folder;
  const fs::path target = folder.path() / "packed";
  pack(target, ops::WeightType::int4);
  const fs::path file = target / "packed.safetensors";
  const std::string whole = contents(file);
  const auto refusal = [&](const std::string& changed) -> std::string {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << changed;
    try {
      Engine::load(target, {.weights = ops::WeightType::bf16, .threads = 1});
    } catch (const ModelError& error) {
      return error.what();
    }
    return "accepted";
  };
  REQUIRE(refusal(whole) == "accepted");
  std::string flipped = whole;
  flipped[whole.size() / 4] = static_cast<char>(flipped[whole.size() / 4] ^ 1);
  CHECK(refusal(flipped).find("does not match its checksum") != std::string::npos);
  CHECK(refusal(whole.substr(0, whole.size() / 2)).find("packed.safetensors: tensor '") == 0);
  CHECK(refusal("").find("packed.safetensors") == 0);
  std::string version = whole;
  const std::size_t place = version.find("\"reelfolio.packed\":\"2\"");
  REQUIRE(place != std::string::npos);
  version[place + 20] = '9';
  CHECK(refusal(version) ==
        "packed.safetensors: is packed in version '9', expected '2'; pack the model again");
  std::string other = whole;
  const std::size_t weights = other.find("\"int4\"");
  REQUIRE(weights != std::string::npos);
  other[weights + 4] = '2';
  CHECK(refusal(other).find("bytes, expected") != std::string::npos);
}

TEST_CASE("packed model: the audio tower is packed, and read when there is sound to hear") {
  const fs::path source = reelfolio::testing::golden_path("text/e4b/model");
  const TempFolder folder;
  const fs::path target = folder.path() / "packed";
  pack_model(source, target, ops::WeightType::int8, {}, {});
  const Checkpoint packed = Checkpoint::open(target);
  const auto key = "model.audio_tower.layers.0.feed_forward1.ffw_layer_1.linear.weight";
  REQUIRE(packed.find(key) != nullptr);
  CHECK(packed.find(key)->dtype == DType::u8);

  auto clip = std::make_shared<AudioClip>();
  for (int i = 0; i < 9000; ++i)
    clip->samples.push_back(0.3F * static_cast<float>(i * i / 50 % 7 - 3) / 3.0F);
  Request hears;
  hears.messages = {{Role::user, {AudioPart{clip}, TextPart{"What is said?"}}}};
  hears.max_tokens = 12;
  Request reads = hears;
  reads.messages.front().parts.erase(reads.messages.front().parts.begin());
  const EngineOptions options{.weights = ops::WeightType::int8, .threads = 1};
  const auto text = [](Engine& engine, const Request& request) {
    return engine.answer({&request, 1}).front().text;
  };
  const auto plain = Engine::load(source, options);
  CHECK(text(*Engine::load(target, options), hears) == text(*plain, hears));

  // Damage there shows when it is read, not before.
  const std::size_t place =
      static_cast<std::size_t>(packed.find(key)->bytes.data() - packed.files().front().data.data()) +
      packed.files().front().header.size() + 8;
  std::fstream file(target / "packed.safetensors", std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(place + 100));
  file.put(static_cast<char>(0x55));
  file.close();
  const auto damaged = Engine::load(target, options);
  CHECK(text(*damaged, reads) == text(*plain, reads));
  CHECK_THROWS_WITH(text(*damaged, hears),
                    "packed.safetensors: matrix '" + std::string(key) +
                        "' does not match its checksum: the file is damaged or was copied in part");
}
