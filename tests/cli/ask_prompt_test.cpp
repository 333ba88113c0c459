#include "cli/ask_prompt.h"

#include <memory>
#include <string>
#include <variant>

#include "tests/support/catch.h"

using namespace reelfolio;

namespace {

stages::Item text_item(const std::string& text) {
  auto unit = std::make_shared<stages::Unit>();
  unit->kind = stages::UnitKind::text;
  unit->text = text;
  return {nullptr, unit, {}};
}

stages::Item picture_item(bool with_sound) {
  stages::Item item{nullptr, std::make_shared<stages::Unit>(), {}};
  item.pictures.push_back({std::make_shared<engine::RgbImage>(), 70, {}});
  if (with_sound) {
    item.sound.emplace();
    item.sound->clips.push_back({std::make_shared<engine::AudioClip>(), 0});
  }
  return item;
}

const std::string& text_of(const engine::Part& part) {
  return std::get<engine::TextPart>(part).text;
}

}  // namespace

TEST_CASE("ask prompt: texts stand where their files do, each under a line that says what it is") {
  cli::AskPrompt prompt(true);
  CHECK(prompt.add({text_item("first"), text_item("second")}));
  CHECK(prompt.add({picture_item(true)}));
  CHECK(prompt.add({text_item("third")}));
  CHECK(prompt.add({text_item("fourth")}));
  const engine::Message message = prompt.with_question("What?");
  REQUIRE(message.parts.size() == 4);
  CHECK(text_of(message.parts[0]) == "Text of the document:\n\nfirst\nsecond\n\n");
  CHECK(std::holds_alternative<engine::ImagePart>(message.parts[1]));
  CHECK(std::holds_alternative<engine::AudioPart>(message.parts[2]));
  CHECK(text_of(message.parts[3]) ==
        "Text of the document:\n\nthird\n\nText of the document:\n\nfourth\n\nWhat?");
}

TEST_CASE("ask prompt: a model that does not hear is shown a film without its sound") {
  cli::AskPrompt prompt(false);
  CHECK_FALSE(prompt.add({picture_item(true)}));
  CHECK(prompt.add({picture_item(false)}));
  const engine::Message message = prompt.with_question("What?");
  REQUIRE(message.parts.size() == 3);
  CHECK(std::holds_alternative<engine::ImagePart>(message.parts[1]));
  CHECK(text_of(message.parts[2]) == "What?");
}
