#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/e2e/program.h"
#include "tests/e2e/small_inputs.h"
#include "tests/support/catch.h"

using namespace reelfolio::test;

namespace {

constexpr const char* kEveryKindGraph =
    "version: 1\n"
    "stages:\n"
    "  pages: {use: render_pages, from: inputs, dpi: 30}\n"
    "  scenes: {use: split_scenes, from: inputs}\n"
    "  images: {use: read_images, from: inputs}\n";

/// What the closing line of an input is to say.
struct Expected {
  std::string name;
  std::string status;
  std::string code;  ///< of its error; empty: none
  int units = 0;
};

/// `count` files of every kind, some of them broken; expectations in the order of their names.
std::vector<Expected> write_every_kind(const TempFolder& folder, int count) {
  std::vector<Expected> all;
  for (int i = 0; i < count; ++i) {
    char number[16];
    std::snprintf(number, sizeof number, "%04d", i);
    const auto add = [&](const char* extension, const std::string& bytes, const char* status,
                         const char* code, int units) {
      const auto path = folder.write(std::string(number) + extension, bytes);
      all.push_back({path.string(), status, code, units});
    };
    switch (i % 8) {
      case 0:
      case 1:
        add(".ppm", picture(i), "ok", "", 1);
        break;
      case 2:
        add(".pdf", document(i, 1), "ok", "", 1);
        break;
      case 3:
        add(".pdf", document(i, 3), "ok", "", 3);
        break;
      case 4:
        add(".ppm", picture(i).substr(0, 300), "failed", "image.truncated", 0);
        break;
      case 5:
        add(".png", "", "failed", "input.empty", 0);
        break;
      case 6:
        add(".txt", "note " + std::to_string(i) + "\n", "skipped", "", 0);
        break;
      default:
        add(".mp4", std::string("\x01\x02\x03\xff\xfe", 5) + number, "failed", "input.unsupported", 0);
        break;
    }
  }
  return all;
}

}  // namespace

TEST_CASE("e2e: hundreds of inputs, whole and broken, each closed by one line in the order of names") {
  const TempFolder inputs;
  const TempFolder folder;
  const auto expected = write_every_kind(inputs, 320);
  const auto graph = folder.write("g.yaml", kEveryKindGraph);
  const auto output = folder / "out.jsonl";
  const Outcome outcome = run_program({.arguments = {"run", graph.string(), (inputs / "").string(), "-o",
                                                     output.string(), "--decoders", "2"}});
  CHECK(outcome.status == 3);
  CHECK(outcome.out.empty());
  CHECK(outcome.err.find("320 inputs: 160 ok, 120 failed, 40 skipped; 240 units in ") != std::string::npos);

  std::size_t next = 0;
  int units = 0;
  for (const nlohmann::json& line : json_lines(read_file(output))) {
    REQUIRE(next < expected.size());
    const Expected& want = expected[next];
    CAPTURE(want.name, line.dump());
    REQUIRE(line["input"] == want.name);
    if (line["type"] == "unit") {
      CHECK(line["unit"]["index"] == units++);
      continue;
    }
    CHECK(line["type"] == "input");
    CHECK(line["status"] == want.status);
    CHECK(line["units"] == want.units);
    CHECK(units == want.units);
    CHECK(line["errors"].size() == (want.code.empty() ? 0U : 1U));
    if (!want.code.empty()) CHECK(line["errors"][0]["code"] == want.code);
    units = 0;
    ++next;
  }
  CHECK(next == expected.size());

  const nlohmann::json report = nlohmann::json::parse(read_file(folder / "out.jsonl.run.json"));
  CHECK(report["interrupted"] == false);
  CHECK(report["counts"]["inputs"] == 320);
  CHECK(report["counts"]["failed"] == 120);
  CHECK(report["counts"]["units"] == 240);
}

TEST_CASE("e2e: the same bytes for any threads and decoders, in a file and on stdout, with a model") {
  const TempFolder inputs;
  const TempFolder folder;
  write_every_kind(inputs, 16);
  const auto graph = folder.write(
      "g.yaml",
      "version: 1\n"
      "stages:\n"
      "  pages: {use: render_pages, from: inputs, dpi: 30, soft_tokens: 70}\n"
      "  images: {use: read_images, from: inputs, soft_tokens: 70}\n"
      "  caption: {use: caption, from: [pages, images], max_tokens: 5}\n"
      "  answers: {use: ask, from: images, max_tokens: 3, questions: {a: \"What?\", b: \"Why?\"}}\n");
  const auto command = [&](const char* threads, const char* decoders, const char* output) {
    return run_program(
        {.arguments = {"run", graph.string(), (inputs / "").string(), "--model", kModel, "--weights", "f32",
                       "-q", "--threads", threads, "--decoders", decoders, "-o", output},
         .variables = {{"OMP_WAIT_POLICY", "passive"}}});
  };
  const Outcome one = command("1", "1", "-");
  CHECK(one.status == 3);
  const auto lines = json_lines(one.out);
  CHECK(std::count_if(lines.begin(), lines.end(), [](const auto& line) { return line["type"] == "input"; }) ==
        16);
  CHECK(std::count_if(lines.begin(), lines.end(),
                      [](const auto& line) { return line.contains("answers"); }) == 4);
  CHECK(command("2", "1", "-").out == one.out);
  CHECK(command("1", "4", "-").out == one.out);
  const std::string file = (folder / "out.jsonl").string();
  CHECK(command("2", "4", file.c_str()).status == 3);
  CHECK(read_file(file) == one.out);
  // Paths one by one on stdin come to the same as the folder.
  std::string names;
  for (const auto& line : lines) {
    if (line["type"] == "input") names += line["input"].get<std::string>() + '\0';
  }
  const Outcome listed =
      run_program({.arguments = {"run", graph.string(), "-", "--model", kModel, "--weights", "f32", "-q",
                                 "--threads", "1", "--decoders", "1"},
                   .input = names});
  CHECK(listed.out == one.out);
}
