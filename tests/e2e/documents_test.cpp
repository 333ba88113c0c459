#include <algorithm>
#include <string>

#include "tests/e2e/program.h"
#include "tests/support/catch.h"

using namespace reelfolio::test;

namespace {

std::vector<std::string> command(const std::filesystem::path& graph, const std::vector<std::string>& inputs,
                                 const std::string& threads = "1") {
  std::vector<std::string> arguments = {"run", graph.string()};
  arguments.insert(arguments.end(), inputs.begin(), inputs.end());
  for (const char* each : {"-o", "-", "-q", "--model", "samples/model", "--weights", "f32", "--threads"}) {
    arguments.emplace_back(each);
  }
  arguments.push_back(threads);
  return arguments;
}

Outcome run_graph(const std::filesystem::path& graph, const std::vector<std::string>& inputs,
                  const std::string& threads = "1") {
  return run_program(
      {.arguments = command(graph, inputs, threads), .variables = {{"OMP_WAIT_POLICY", "passive"}}});
}

}  // namespace

TEST_CASE("e2e: texts of every format are asked about in parts, with the model's own tokens as the budget") {
  const TempFolder folder;
  const auto graph = folder.write("g.yaml", R"(version: 1
stages:
  texts: {use: read_text, from: inputs, part_tokens: 40}
  words: {use: ask, from: texts, question: "Which shapes are visible?", max_tokens: 3}
)");
  const auto page = folder.write("a.html", "<html><h1>Shapes</h1><p>A red circle and a blue square.</html>");
  const auto notes = folder.write("b.md",
                                  "# One\n\nA red circle. A blue square. A green triangle.\n\n# Two\n\n"
                                  "Two yellow circles left of a grey square. A red circle.\n");
  const auto film = folder.write("c.srt", "1\n00:00:01,000 --> 00:00:02,500\nA red circle\n");
  const auto legacy = folder.write("d.txt", "Gr\xFCn, gelb\n");
  // Its conversion is a library that the decoder's process loads.
  const auto wide = folder.write("d.utf16", std::string("\xFF\xFE"
                                                        "a\0\n\0b\0\n\0c\0",
                                                        12));
  const auto binary = folder.write("e.txt", std::string("\x01\x02\x00\xFF", 4));
  const Outcome outcome = run_graph(
      graph, {page.string(), notes.string(), film.string(), legacy.string(), wide.string(), binary.string()});
  CHECK(outcome.status == 3);
  const auto lines = json_lines(outcome.out);
  std::size_t parts_of_notes = 0;
  for (const auto& line : lines) {
    if (line["type"] == "input") {
      CHECK(line["status"] == (line["input"] == binary.string() ? "failed" : "ok"));
      if (line["input"] != binary.string()) CHECK(line["media"] == "text");
      continue;
    }
    CHECK(line["unit"]["kind"] == "text");
    CHECK(line["words"]["text"].is_string());
    if (line["input"] == notes.string()) ++parts_of_notes;
    if (line["input"] == wide.string()) CHECK(line["unit"]["last_line"] == 3);
    if (line["input"] == film.string()) {
      CHECK(line["unit"]["start_s"] == 1);
      CHECK(line["unit"]["end_s"] == 2.5);
      CHECK(line["unit"]["first_line"] == 2);
    }
  }
  CHECK(parts_of_notes == 2);
}

TEST_CASE("e2e: sampled answers are the same bytes on every run, for any number of threads") {
  const TempFolder folder;
  const auto graph = folder.write("g.yaml", R"(version: 1
stages:
  seen:
    use: ask
    from: images
    soft_tokens: 70
    max_tokens: 12
    temperature: 1
    min_p: 0.02
    repetition_penalty: 1.1
    samples: 5
    confidence: true
    questions: {shapes: "Which shapes are visible?", colour: "Which colour is the background?"}
)");
  const std::vector<std::string> inputs = {kSamples + "/inbox/still.png", kSamples + "/inbox/upright.jpg"};
  const Outcome first = run_graph(graph, inputs);
  CHECK(first.status == 0);
  const auto lines = json_lines(first.out);
  REQUIRE(lines.size() == 4);
  int votes = 0;
  for (const auto& ballot : lines[0]["seen"]["shapes"]["votes"]) votes += ballot["count"].get<int>();
  CHECK(votes == 5);
  CHECK(run_graph(graph, inputs).out == first.out);
  CHECK(run_graph(graph, inputs, "2").out == first.out);
  std::vector<std::string> swapped(inputs.rbegin(), inputs.rend());
  const auto other = json_lines(run_graph(graph, swapped).out);
  CHECK(other[2] == lines[0]);
}

TEST_CASE("e2e: an extracted document has a valid value for each page and one for all of them") {
  const TempFolder folder;
  folder.write("s.json", R"({"type": "object", "required": ["number", "paid", "lines"], "properties": {
    "number": {"type": ["string", "null"], "maxLength": 8}, "paid": {"type": "boolean"},
    "lines": {"type": "array", "maxItems": 2, "items": {"type": "string", "maxLength": 6}}}})");
  const auto graph = folder.write("g.yaml", R"(version: 1
stages:
  pages: {use: render_pages, from: inputs, dpi: 40}
  form:
    use: extract
    from: pages
    schema: s.json
    soft_tokens: 70
    max_tokens: 60
    temperature: 1
    merge: first
    merge_fields: {lines: list}
)");
  const std::vector<std::string> inputs = {kSamples + "/inbox/invoice.pdf"};
  const Outcome first = run_graph(graph, inputs);
  CHECK(first.status == 0);
  const auto lines = json_lines(first.out);
  REQUIRE(lines.size() == 3);
  auto joined = nlohmann::json::array();
  for (int page = 0; page < 2; ++page) {
    const auto& form = lines[page]["form"];
    CHECK(form["valid"] == true);
    CHECK(form["grounding"].is_object());
    for (const auto& each : form["value"]["lines"]) joined.push_back(each);
  }
  const auto& merged = lines[2]["form"];
  CHECK(merged["value"]["paid"] == lines[0]["form"]["value"]["paid"]);
  CHECK(merged["value"]["lines"] == joined);
  CHECK(merged["evidence"]["paid"][0] == 1);
  CHECK(merged["conflicts"].is_object());
  CHECK(run_graph(graph, inputs, "2").out == first.out);
}
