#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "stages/language/ask.h"
#include "stages/language/extract.h"
#include "tests/stages/language_fixture.h"
#include "tests/stages/media_fixture.h"
#include "tests/support/catch.h"
#include "tests/support/golden_kit.h"

using namespace reelfolio;
using namespace reelfolio::stages;
using namespace reelfolio::stages::testing;

namespace {

/// A model with random weights: whatever it is not kept from saying, it says sooner or later.
engine::Engine& random_model() {
  static const std::unique_ptr<engine::Engine> model = [] {
    engine::EngineOptions options;
    options.weights = engine::ops::WeightType::f32;
    options.threads = 1;
    return engine::Engine::load(test::golden_kits("text").front() / "model", options);
  }();
  return *model;
}

Item text_item(int index) {
  auto input = std::make_shared<InputFile>();
  input->name = "notes.txt";
  input->sha256 = std::string(64, 'd');
  input->media = MediaKind::text;
  auto unit = std::make_shared<Unit>();
  unit->producer = "texts";
  unit->kind = UnitKind::text;
  unit->index = index;
  unit->text = "Invoice A-17";
  return {input, unit, {}};
}

std::vector<std::filesystem::path> schemas() {
  std::vector<std::filesystem::path> files;
  const std::filesystem::path folder = std::filesystem::path(REELFOLIO_SOURCE_DIR) / "configs/schemas";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::ranges::sort(files);
  return files;
}

}  // namespace

TEST_CASE("extract: whatever the model would say, the value is valid, at tight max_tokens too") {
  for (const auto& schema : schemas()) {
    for (const std::int64_t max_tokens : {160, 200, 400}) {
      const auto stage = make_stage(extract_type(), {{"schema", schema.string()},
                                                     {"prompt", std::string("Fill in.")},
                                                     {"temperature", 1.0},
                                                     {"top_k", std::int64_t{0}},
                                                     {"top_p", 1.0},
                                                     {"max_string", std::int64_t{60}},
                                                     {"max_tokens", max_tokens}});
      for (int index = 0; index < 4; ++index) {
        const Item item = text_item(index);
        const auto answers = random_model().answer(stage->requests(item));
        const Json result = stage->result(item, answers);
        INFO(schema.filename().string()
             << ", max_tokens " << max_tokens << ", unit " << index << ": " << answers[0].text);
        CHECK(result["valid"] == true);
        CHECK(answers[0].generated_tokens <= max_tokens);
      }
    }
  }
}

TEST_CASE("extract: thoughts stand in front of the value, which is valid all the same") {
  const auto stage = make_stage(extract_type(), {{"schema", schemas().front().string()},
                                                 {"prompt", std::string("Fill in.")},
                                                 {"temperature", 1.0},
                                                 {"thinking", true},
                                                 {"thinking_tokens", std::int64_t{30}},
                                                 {"max_tokens", std::int64_t{300}}});
  for (int index = 0; index < 6; ++index) {
    const Item item = text_item(index);
    const auto answers = random_model().answer(stage->requests(item));
    const Json result = stage->result(item, answers);
    CAPTURE(index, answers[0].text);
    CHECK(result["valid"] == true);
    CHECK(result["thinking"].is_string());
  }
}

TEST_CASE("ask: answers keep to choices and types, whatever the model would say") {
  const TextMap questions = {{"a", "A?"}, {"b", "B?"}, {"c", "C?"}, {"d", "D?"}};
  const TextMap types = {{"a", "indoors | outdoors"}, {"b", "integer"}, {"c", "number"}, {"d", "boolean"}};
  const auto stage = make_stage(ask_type(), {{"questions", questions},
                                             {"types", types},
                                             {"temperature", 1.0},
                                             {"top_k", std::int64_t{0}},
                                             {"top_p", 1.0},
                                             {"confidence", true},
                                             {"max_tokens", std::int64_t{12}}});
  for (int index = 0; index < 8; ++index) {
    const Item item = text_item(index);
    const Json result = stage->result(item, random_model().answer(stage->requests(item)));
    CAPTURE(result.dump());
    CHECK((result["a"]["text"] == "indoors" || result["a"]["text"] == "outdoors"));
    CHECK(result["b"]["value"].is_number_integer());
    CHECK(result["c"]["value"].is_number());
    CHECK(result["d"]["value"].is_boolean());
    for (const Json& answer : result) {
      CHECK(answer["confidence"] >= 0.0);
      CHECK(answer["confidence"] <= 1.0);
    }
  }
}

TEST_CASE("extract: a schema that answers cannot be held to is refused when the graph is built") {
  const MediaFolder folder;
  const auto stage = [&](bool constrain) {
    const auto file = folder.write(
        "s.json",
        R"({"type": "object", "properties": {"a": {"type": "array", "contains": {"const": 1}, "maxContains": 2}}})");
    make_stage(extract_type(), {{"schema", file.string()}, {"constrain", constrain}});
  };
  CHECK(param_error([&] { stage(true); }).find("#/properties/a/maxContains: ") != std::string::npos);
  CHECK(param_error([&] { stage(false); }).empty());
}
