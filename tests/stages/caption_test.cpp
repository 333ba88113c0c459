#include <set>

#include "stages/language/caption.h"
#include "tests/stages/language_fixture.h"
#include "tests/support/catch.h"
#include "tests/support/temp_folder.h"

using namespace reelfolio;
using namespace reelfolio::stages;
using namespace reelfolio::stages::testing;

TEST_CASE("caption: pictures stand before the text, with their own budgets") {
  const auto stage = make_stage(caption_type(), {{"prompt", std::string("Scene {scene.index}")}});
  const auto requests = stage->requests(scene_item());
  REQUIRE(requests.size() == 1);
  REQUIRE(requests[0].messages.size() == 1);
  const auto& parts = requests[0].messages[0].parts;
  REQUIRE(parts.size() == 3);
  CHECK(std::get<engine::ImagePart>(parts[0]).soft_tokens == 70);
  CHECK(std::get<engine::ImagePart>(parts[1]).soft_tokens == 70);
  CHECK(std::get<engine::TextPart>(parts[2]).text == "Scene 3");
  CHECK(requests[0].max_tokens == 64);
  CHECK_FALSE(requests[0].thinking);
  CHECK(requests[0].sampling.temperature == 0.0F);
}

TEST_CASE("caption: soft_tokens overrides the budget of every picture") {
  const auto stage = make_stage(caption_type(), {{"soft_tokens", std::int64_t{560}}});
  const auto request = stage->requests(scene_item())[0];
  CHECK(std::get<engine::ImagePart>(request.messages[0].parts[1]).soft_tokens == 560);
}

TEST_CASE("caption: a budget that the model does not know is refused") {
  CHECK(param_error([] {
          make_stage(caption_type(), {{"soft_tokens", std::int64_t{300}}});
        }) == "soft_tokens: 300 is no budget, expected 70, 140, 280, 560 or 1120");
}

TEST_CASE("caption: the system prompt is a turn of its own and no template") {
  const auto stage = make_stage(caption_type(), {{"system", std::string("Be {brief}.")}});
  const auto request = stage->requests(page_item())[0];
  REQUIRE(request.messages.size() == 2);
  CHECK(request.messages[0].role == engine::Role::system);
  CHECK(std::get<engine::TextPart>(request.messages[0].parts[0]).text == "Be {brief}.");
}

TEST_CASE("caption: an empty answer is a result all the same") {
  const auto stage = make_stage(caption_type(), {});
  const engine::Answer answers[] = {answer("", engine::FinishReason::stop)};
  CHECK(stage->result(page_item(), answers).dump() == R"({"text":"","finish_reason":"stop"})");
}

TEST_CASE("caption: thoughts are kept beside the text only where they are asked for") {
  engine::Answer thoughtful = answer("A boat", engine::FinishReason::length);
  thoughtful.thinking = "hm";
  const engine::Answer answers[] = {thoughtful};
  CHECK(make_stage(caption_type(), {{"thinking", true}})->result(page_item(), answers).dump() ==
        R"({"text":"A boat","thinking":"hm","finish_reason":"length"})");
  CHECK(make_stage(caption_type(), {})->result(page_item(), answers).dump() ==
        R"({"text":"A boat","finish_reason":"length"})");
}

TEST_CASE("caption: an item without pictures is an item error, not a request") {
  Item item = page_item();
  item.pictures.clear();
  CHECK_THROWS_AS(make_stage(caption_type(), {})->requests(item), ItemError);
}

TEST_CASE("caption: with a temperature each unit has a seed of its own that repeats") {
  const auto stage = make_stage(caption_type(), {{"temperature", 1.0}, {"seed", std::int64_t{7}}});
  const auto again = make_stage(caption_type(), {{"temperature", 1.0}, {"seed", std::int64_t{7}}});
  const auto other = make_stage(caption_type(), {{"temperature", 1.0}, {"seed", std::int64_t{8}}});
  Item sibling = page_item();
  auto unit = std::make_shared<Unit>(*sibling.unit);
  unit->index = 4;
  sibling.unit = unit;
  const auto seed = [](const auto& each, const Item& item) { return each->requests(item)[0].sampling.seed; };
  CHECK(seed(stage, page_item()) == seed(again, page_item()));
  // sha256sum of "7\naaa...\npages\n2\n": the first eight bytes, least significant first.
  CHECK(seed(stage, page_item()) == 1136833021688253664U);
  const std::set<std::uint64_t> seeds = {seed(stage, page_item()), seed(other, page_item()),
                                         seed(stage, sibling), seed(stage, scene_item())};
  CHECK(seeds.size() == 4);
}

TEST_CASE("caption: prompt_file replaces the prompt, and both together are refused") {
  const reelfolio::test::TempFolder folder;
  folder.write("prompt.txt", "Look at {input.name}\n");
  folder.write("bad.txt", "Look at {input.nme}\n");
  folder.write("latin1.txt", "caf\xE9\n");
  StageContext context;
  context.graph_folder = folder.path();
  const auto stage = make_stage(caption_type(), {{"prompt_file", std::string("prompt.txt")}}, context);
  CHECK(prompt_of(stage->requests(page_item())[0]) == "Look at bill.v2.pdf\n");
  const auto message = [&](std::vector<std::pair<std::string, ParamValue>> given) {
    return param_error([&] { make_stage(caption_type(), given, context); });
  };
  CHECK(message({{"prompt_file", std::string("prompt.txt")}, {"prompt", std::string("x")}}) ==
        "prompt_file: prompt and prompt_file are both given; keep one of them");
  CHECK(message({{"prompt_file", std::string("bad.txt")}}).find("prompt_file: line 1, column 9") == 0);
  CHECK(message({{"prompt_file", std::string("none.txt")}}).find("none.txt: no such file") !=
        std::string::npos);
  CHECK(message({{"prompt_file", std::string("latin1.txt")}}).find("is not UTF-8 text") != std::string::npos);
  CHECK(message({{"prompt_file", std::string(".")}}).find("is a folder") != std::string::npos);
}

TEST_CASE("caption: a name that the stage's units cannot have is refused when the graph is built") {
  StageContext context;
  context.receives = {ItemType::frames};
  CHECK(param_error([&] {
          make_stage(caption_type(), {{"prompt", std::string("{page.text}")}}, context);
        }).find("prompt: line 1, column 1: 'page.text' never has a value here") == 0);
}
