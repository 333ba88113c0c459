#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/e2e/program.h"
#include "tests/support/catch.h"

using namespace reelfolio::test;

namespace {

const std::string kTokenizer = REELFOLIO_SOURCE_DIR "/tests/golden/tokenizer";

constexpr const char* kPagesOnly = "version: 1\nstages:\n  pages: {use: render_pages, from: inputs}\n";
constexpr const char* kCaptions =
    "version: 1\nstages:\n  caption: {use: caption, from: images, max_tokens: 4}\n";

}  // namespace

TEST_CASE("e2e: version and help go to stdout") {
  CHECK(run({"--version"}).out.find("reelfolio ") == 0);
  const Outcome help = run({"run", "--help"});
  CHECK(help.status == 0);
  CHECK(contains(help.out, "--dry-run"));
  CHECK(help.err.empty());
}

TEST_CASE("e2e: a wrong flag ends with 2 and the nearest flag on stderr") {
  const Outcome outcome = run({"run", "graph.yaml", "--modle", "x"});
  CHECK(outcome.status == 2);
  CHECK(outcome.out.empty());
  CHECK(contains(outcome.err, "unknown option '--modle'; did you mean '--model'?"));
}

TEST_CASE("e2e: bench without a model or with a wrong item ends with 2") {
  const Outcome none = run({"bench"});
  CHECK(none.status == 2);
  CHECK(contains(none.err, "--synthetic e4b"));
  const Outcome wrong = run({"bench", "--synthetic", "e4b", "--only", "decod"});
  CHECK(wrong.status == 2);
  CHECK(wrong.out.empty());
  CHECK(contains(wrong.err, "--only names 'decod'"));
}

TEST_CASE("e2e: a graph error ends with 2, with file, line and column") {
  const TempFolder folder;
  const auto graph =
      folder.write("g.yaml", "version: 1\nstages:\n  pages: {use: render_page, from: inputs}\n");
  const Outcome outcome = run({"check", graph.string()});
  CHECK(outcome.status == 2);
  CHECK(contains(outcome.err, graph.string() + ":3:16: "));
  CHECK(contains(outcome.err, "did you mean 'render_pages'?"));
  CHECK(run({"check", (folder / "none.yaml").string()}).status == 2);
}

TEST_CASE("e2e: a wrong name in a prompt ends with 2 at the prompt's place") {
  const TempFolder folder;
  const auto graph = folder.write(
      "g.yaml", "version: 1\nstages:\n  caption: {use: caption, from: images, prompt: \"{input.nam}\"}\n");
  const Outcome outcome = run({"check", graph.string()});
  CHECK(outcome.status == 2);
  CHECK(contains(outcome.err, ":3:"));
  CHECK(contains(outcome.err, "unknown name 'input.nam' in the template; did you mean 'input.name'?"));
}

TEST_CASE("e2e: check prints a graph that checks again, and one for Graphviz") {
  const TempFolder folder;
  const Outcome first = run({"check", "configs/samples.yaml"});
  REQUIRE(first.status == 0);
  // Paths of schemas start at the graph's folder.
  const std::string moved = REELFOLIO_SOURCE_DIR "/configs/schemas/invoice.json";
  std::string text = first.out;
  const std::size_t at = text.find("schemas/invoice.json");
  REQUIRE(at != std::string::npos);
  text.replace(at, std::string("schemas/invoice.json").size(), moved);
  const Outcome second = run({"check", folder.write("g.yaml", text).string()});
  CHECK(second.status == 0);
  CHECK(second.out == text);
  CHECK(run({"check", "configs/samples.yaml", "--dot"}).out.find("digraph") == 0);
}

TEST_CASE("e2e: --set overrides the graph, and a wrong one ends with 2") {
  CHECK(
      contains(run({"check", "configs/samples.yaml", "--set", "caption.max_tokens=7"}).out, "max_tokens: 7"));
  const Outcome outcome = run({"check", "configs/samples.yaml", "--set", "caption.max_token=7"});
  CHECK(outcome.status == 2);
  CHECK(contains(outcome.err, "max_tokens"));
}

TEST_CASE("e2e: a run without a model ends with 2, with a missing one 4, before anything is written") {
  const TempFolder folder;
  const auto graph = folder.write("g.yaml", kCaptions);
  const auto output = folder / "out.jsonl";
  const std::vector<std::string> command = {"run", graph.string(), kSamples + "/inbox/still.png", "-o",
                                            output.string()};
  const Outcome none = run_program({.arguments = command});
  CHECK(none.status == 2);
  CHECK(contains(none.err, "names no model"));
  const Outcome missing =
      run_program({.arguments = command, .variables = {{"REELFOLIO_MODEL", (folder / "no-model").string()}}});
  CHECK(missing.status == 4);
  CHECK(contains(missing.err, "no-model"));
  CHECK_FALSE(std::filesystem::exists(output));
  CHECK_FALSE(std::filesystem::exists(folder / "out.jsonl.partial"));
  CHECK_FALSE(std::filesystem::exists(folder / "out.jsonl.lock"));
}

TEST_CASE("e2e: a graph without a model writes units and closing lines, a broken input ends with 3") {
  const TempFolder folder;
  const auto graph = folder.write("g.yaml", kPagesOnly);
  const auto output = folder / "out.jsonl";
  const auto broken = folder.write("broken.pdf", "%PDF-1.4\nnothing more");
  const Outcome outcome = run({"run", graph.string(), kSamples + "/inbox/invoice.pdf", broken.string(),
                               (folder / "gone.pdf").string(), "-o", output.string(), "--progress", "none"});
  CHECK(outcome.status == 3);
  CHECK(outcome.out.empty());
  const auto lines = json_lines(read_file(output));
  REQUIRE(lines.size() == 5);
  CHECK(lines[0]["unit"]["kind"] == "page");
  CHECK(lines[1]["unit"]["number"] == 2);
  CHECK(lines[2]["status"] == "ok");
  CHECK(lines[3]["status"] == "failed");
  CHECK(lines[4]["status"] == "failed");
  CHECK(lines[4]["errors"][0]["stage"] == "inputs");
  CHECK(std::filesystem::exists(folder / "out.jsonl.run.json"));
  CHECK_FALSE(std::filesystem::exists(folder / "out.jsonl.lock"));
}

TEST_CASE(
    "e2e: a packed model answers as it would converted while loading, and the report names its weights") {
  const TempFolder folder;
  const std::string packed = (folder / "packed").string();
  REQUIRE(run({"model", "pack", kSamples + "/model", "-o", packed, "--weights", "int8", "-q"}).status == 0);
  const auto graph =
      folder.write("g.yaml",
                   "version: 1\nstages:\n"
                   "  caption: {use: caption, from: images, soft_tokens: 70, max_tokens: 32}\n");
  const auto captions = [&](const std::string& name, const std::string& model) {
    const std::string output = (folder / name).string();
    CHECK(run({"run", graph.string(), kSamples + "/inbox/still.png", "-o", output, "-q", "--model", model,
               "--weights", "int8"})
              .status == 0);
    return read_file(output);
  };
  CHECK(captions("a.jsonl", packed) == captions("b.jsonl", kSamples + "/model"));
  CHECK(run({"run", graph.string(), kSamples + "/inbox/still.png", "-o", (folder / "c.jsonl").string(), "-q",
             "--model", packed})
            .status == 0);
  const auto report = nlohmann::json::parse(read_file(folder / "c.jsonl.run.json"));
  CHECK(report["options"]["weights"] == "int8");
}

TEST_CASE("e2e: the output is the same bytes on stdout, for any number of decoders") {
  const TempFolder folder;
  const auto graph = folder.write(
      "g.yaml",
      "version: 1\nstages:\n  pages: {use: render_pages, from: inputs}\n"
      "  scenes: {use: split_scenes, from: inputs}\n  images: {use: read_images, from: inputs}\n");
  const auto command = [&](const char* decoders) {
    return run({"run", graph.string(), "samples/inbox", "-o", "-", "-q", "--decoders", decoders});
  };
  const Outcome one = command("1");
  CHECK(one.status == 0);
  CHECK(json_lines(one.out).size() > 6);
  CHECK(command("4").out == one.out);
}

TEST_CASE("e2e: paths come from stdin, separated by newline or NUL") {
  const TempFolder folder;
  const auto graph = folder.write("g.yaml", kPagesOnly);
  for (const std::string& input :
       {std::string("samples/inbox/invoice.pdf\n"), std::string("samples/inbox/invoice.pdf\0", 26)}) {
    const Outcome outcome = run_program({.arguments = {"run", graph.string(), "-", "-q"}, .input = input});
    CHECK(outcome.status == 0);
    CHECK(json_lines(outcome.out).size() == 3);
  }
}

TEST_CASE("e2e: a full disk ends with 5") {
  const TempFolder folder;
  const auto graph = folder.write("g.yaml", kPagesOnly);
  const Outcome outcome = run_program(
      {.arguments = {"run", graph.string(), "samples/inbox/invoice.pdf", "-q"}, .stdout_path = "/dev/full"});
  CHECK(outcome.status == 5);
  CHECK(contains(outcome.err, "stdout: cannot be written: no space left on device"));
  CHECK(run_program({.arguments = {"--help"}, .stdout_path = "/dev/full"}).status == 5);
}

TEST_CASE("e2e: --dry-run prints the graph and the plan and writes nothing") {
  const TempFolder folder;
  const auto output = folder / "out.jsonl";
  const Outcome outcome = run({"run", "configs/samples.yaml", "-o", output.string(), "--dry-run"});
  CHECK(outcome.status == 0);
  CHECK(contains(outcome.out, "use: split_scenes"));
  CHECK(contains(outcome.out, "# samples/inbox/invoice.pdf: "));
  CHECK_FALSE(std::filesystem::exists(output));
}

TEST_CASE("e2e: tokenize reads JSON strings and writes one array a line, with tokenizer.json alone") {
  std::ifstream file(kTokenizer + "/tokenizer_cases.json");
  const nlohmann::json golden = nlohmann::json::parse(file);
  std::string input;
  std::vector<nlohmann::json> expected;
  for (const auto& each : golden["cases"]) {
    input += each["text"].dump() + "\n";
    expected.push_back(each["ids"]);
  }
  REQUIRE(expected.size() > 20);
  const Outcome outcome = run_program({.arguments = {"model", "tokenize", kTokenizer, "-"}, .input = input});
  CHECK(outcome.status == 0);
  const auto lines = json_lines(outcome.out);
  REQUIRE(lines.size() == expected.size());
  for (std::size_t i = 0; i < lines.size(); ++i) {
    CAPTURE(golden["cases"][i]["text"].dump());
    CHECK(lines[i] == expected[i]);
  }
  const Outcome bad =
      run_program({.arguments = {"model", "tokenize", kTokenizer, "-"}, .input = "\"a\"\n{}\n"});
  CHECK(bad.status == 2);
  CHECK(contains(bad.err, "stdin:2: "));
  CHECK(run({"model", "tokenize", "/nonexistent-model", "x"}).status == 4);
}

TEST_CASE("e2e: inspect reports a model, and one that is missing ends with 4") {
  const Outcome outcome = run({"model", "inspect", kSamples + "/model"});
  CHECK(outcome.status == 0);
  CHECK(contains(outcome.out, "fingerprint"));
  CHECK(run({"model", "inspect", "/nonexistent-model"}).status == 4);
}

TEST_CASE("e2e: ask answers on stdout about an image, a PDF, a video and texts") {
  for (const char* file : {"still.png", "invoice.pdf", "shapes.mp4"}) {
    CAPTURE(file);
    const Outcome outcome =
        run({"ask", kSamples + "/inbox/" + file, "What is shown?", "--model", kSamples + "/model",
             "--soft-tokens", "70", "--max-tokens", "4", "--weights", "f32"});
    CHECK(outcome.status == 0);
    CHECK_FALSE(outcome.out.empty());
    CHECK(outcome.out.back() == '\n');
  }
  const TempFolder folder;
  const std::string notes = folder.write("notes.md", "# Shapes\n\nA red circle.\n").string();
  const std::string page = folder.write("page.html", "<html><p>A blue square.</html>").string();
  const std::string film = folder.write("film.srt", "1\n00:00:01,000 --> 00:00:02,500\nA square\n").string();
  const Outcome read = run({"ask", notes, page, film, kSamples + "/inbox/still.png", "What is shown?",
                            "--model", kSamples + "/model", "--max-tokens", "4", "--weights", "f32"});
  CHECK(read.status == 0);
  CHECK_FALSE(read.out.empty());
  CHECK(run({"ask", folder.write("none.txt", " \n").string(), "What?", "--model", kSamples + "/model"})
            .status == 3);
  CHECK(run({"ask", "/nonexistent.png", "What?", "--model", kSamples + "/model"}).status == 3);
  CHECK(run({"ask", kSamples + "/inbox/still.png", "What?"}).status == 2);
  CHECK(run({"ask", kSamples + "/inbox/still.png", "What?", "--model", "/nonexistent-model"}).status == 4);
}

TEST_CASE("e2e: captions are the same bytes for any number of threads") {
  const TempFolder folder;
  const auto graph = folder.write("g.yaml", kCaptions);
  const auto command = [&](const char* threads) {
    return run({"run", graph.string(), "samples/inbox/still.png", "samples/inbox/palette.png", "--model",
                kSamples + "/model", "--weights", "f32", "-q", "--threads", threads});
  };
  const Outcome one = command("1");
  CHECK(one.status == 0);
  const auto lines = json_lines(one.out);
  REQUIRE(lines.size() == 4);
  CHECK(lines[0]["caption"].contains("text"));
  CHECK(command("2").out == one.out);
}

TEST_CASE("e2e: schema tells what is refused, and which values are admitted") {
  const TempFolder folder;
  const auto schema =
      folder.write("s.json", R"({"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]})");
  const auto good = folder.write("good.json", "{\"m\": 0, \"n\": 1.0}\n");
  const auto bad = folder.write("bad.json", "{\"n\": \"1\"}");
  const Outcome outcome = run({"schema", schema.string(), good.string()});
  CHECK(outcome.status == 0);
  CHECK(outcome.out == schema.string() + ": supported\n" + good.string() + ": admitted\n");
  CHECK(run({"schema", schema.string(), good.string(), bad.string()}).status == 3);
  CHECK(run({"schema", "--closed", schema.string(), good.string()}).status == 3);

  const Outcome lines =
      run_program({.arguments = {"schema", schema.string(), "-"}, .input = "{\"n\":1}\n[]\n{\n"});
  CHECK(lines.status == 3);
  CHECK(contains(lines.out, "1: admitted\n2: not admitted\n3: is not JSON\n"));

  const auto refused = folder.write("r.json", R"({"items":{"maxContains":1},"unevaluatedItems":true})");
  const Outcome refusal = run({"schema", refused.string()});
  CHECK(refusal.status == 2);
  CHECK(contains(refusal.out,
                 refused.string() + "#/items/maxContains: keyword 'maxContains' is not supported"));
  CHECK(contains(refusal.out,
                 refused.string() + "#/unevaluatedItems: keyword 'unevaluatedItems' is not supported"));
  CHECK(run({"schema", (folder / "none.json").string()}).status == 2);
  CHECK(run({"schema"}).status == 2);
}

// build/reelfolio schema --keywords > configs/schemas/keywords.txt
TEST_CASE("e2e: the list of schema keywords in the documentation is the program's own") {
  std::ifstream file(REELFOLIO_SOURCE_DIR "/configs/schemas/keywords.txt");
  const std::string listed(std::istreambuf_iterator<char>(file), {});
  CHECK(run({"schema", "--keywords"}).out == listed);
}
