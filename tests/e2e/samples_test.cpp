#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/e2e/program.h"
#include "tests/support/catch.h"

using namespace reelfolio::test;

// The scenes that samples/make_samples.py draws, in words. Training of the sample model never
// sees these captions; it gets about one in twenty wrong.
TEST_CASE("e2e: the sample model says what the sample video and images show") {
  const std::map<std::string, std::string> images = {
      {"still.png", "a black star left of three blue circles on a beige background"},
      {"palette.png", "two red triangles on the right of a navy background"},
      {"upright.jpg", "an orange cross above an orange square on a grey background"},
      {"still.webp", "three red triangles at the bottom of a white background"},
  };
  const std::vector<std::string> scenes = {
      "two yellow circles left of a blue square on a grey background",
      "a green triangle in the middle of a navy background",
      "a green triangle above three white squares on a pink background",
      "two orange crosses left of a red circle on a black background",
      "three black stars at the top of a white background",
      "a blue cross above two purple circles on a beige background",
  };
  const TempFolder folder;
  const auto output = folder / "out.jsonl";
  std::vector<std::string> arguments = {"run", "configs/samples.yaml", "-q", "-o", output.string()};
  for (const auto& [name, caption] : images) arguments.push_back("samples/inbox/" + name);
  arguments.push_back("samples/inbox/shapes.mp4");
  const Outcome outcome = run_program({.arguments = arguments});
  REQUIRE(outcome.status == 0);
  std::size_t seen = 0;
  std::size_t right = 0;
  std::string wrong;
  for (const auto& line : json_lines(read_file(output))) {
    if (line["type"] != "unit") continue;
    const std::string name = std::filesystem::path(line["input"].get<std::string>()).filename();
    const std::string wanted =
        name == "shapes.mp4" ? scenes.at(line["unit"]["index"].get<std::size_t>()) : images.at(name);
    const std::string said = line["caption"]["text"];
    if (said == wanted) {
      ++right;
    } else {
      wrong += name + ": " + said + ", not " + wanted + "\n";
    }
    ++seen;
  }
  CAPTURE(wrong);
  CHECK(seen == images.size() + scenes.size());
  CHECK(right + 2 >= seen);
}
