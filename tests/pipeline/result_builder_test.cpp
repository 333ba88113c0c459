#include "pipeline/result_builder.h"

#include <memory>
#include <string>

#include "pipeline/graph.h"
#include "tests/support/catch.h"

using namespace reelfolio;
using namespace reelfolio::pipeline;

namespace {

stages::Json clip_value(double start_s, const std::string& text) {
  return {{"text", text},
          {"clips",
           {{{"start_s", start_s},
             {"end_s", start_s + 1},
             {"text", text},
             {"language", "English"},
             {"no_speech", false},
             {"finish_reason", "stop"}}}}};
}

}  // namespace

TEST_CASE(
    "results: what came in several items is joined in the order of the items, whenever it was answered") {
  const Graph graph =
      build_graph(parse_graph("version: 1\nstages:\n  scenes: {use: split_scenes, from: inputs}\n"
                              "  speech: {use: transcribe, from: scenes}\n",
                              "g.yaml"));
  REQUIRE(graph.stages.size() == 3);
  auto input = std::make_shared<stages::InputFile>();
  input->name = "film.mp4";
  ResultBuilder builder(graph, input);
  builder.set_taken();
  auto unit = std::make_shared<stages::Unit>();
  unit->producer = "scenes";
  REQUIRE(builder.add_unit(unit));
  for (int i = 0; i < 3; ++i) builder.add_attempt(*unit);
  builder.add_result(2, *unit, clip_value(20, "three"), 7);
  builder.add_result(2, *unit, clip_value(0, "one"), 2);
  builder.add_result(2, *unit, clip_value(10, "two"), 5);
  const stages::InputResult result = builder.finish();
  CHECK(result.errors.empty());
  REQUIRE(result.units.size() == 1);
  REQUIRE(result.units[0].results.size() == 1);
  const stages::Json& value = result.units[0].results[0].second;
  CHECK(value["text"] == "one two three");
  REQUIRE(value["clips"].size() == 3);
  CHECK(value["clips"][2]["start_s"] == 20);
}

TEST_CASE("results: items that a stage cannot join are an error of the unit, not the end of the run") {
  const Graph graph =
      build_graph(parse_graph("version: 1\nstages: {caption: {use: caption, from: images}}\n", "g.yaml"));
  auto input = std::make_shared<stages::InputFile>();
  ResultBuilder builder(graph, input);
  auto unit = std::make_shared<stages::Unit>();
  unit->producer = "images";
  builder.add_unit(unit);
  builder.add_result(1, *unit, "a", 1);
  builder.add_result(1, *unit, "b", 2);
  const stages::InputResult result = builder.finish();
  REQUIRE(result.errors.size() == 1);
  CHECK(result.errors[0].code == "internal.error");
  CHECK(result.units[0].results.empty());
}
