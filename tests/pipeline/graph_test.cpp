#include "pipeline/graph.h"

#include "pipeline/file_hash.h"
#include "tests/support/catch.h"
#include "tests/support/fake_stages.h"
#include "tests/support/temp_folder.h"

using namespace reelfolio;
using namespace reelfolio::pipeline;

namespace {

std::string error_of(std::string_view yaml, const std::vector<std::string>& settings = {}) {
  try {
    test::graph_of(yaml, settings);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

/// A graph of these stages, the first of them in line 3.
std::string with_stages(const std::string& lines) {
  return "version: 1\nstages:\n" + lines;
}

std::string caption_with(const std::string& entries) {
  return with_stages("  pages: {use: render_pages, from: inputs}\n  caption: {use: caption, from: pages, " +
                     entries + "}\n");
}

}  // namespace

TEST_CASE("graph: sources, defaults, units of measure and the implicit images stage") {
  const Graph graph = test::graph_of(R"(version: 1
model: {path: samples/model, weights: f32}
inputs: {paths: [in], include: "*.mp4"}
stages:
  caption: {use: caption, from: [frames, images], max_tokens: 9}
  frames: {use: sample_frames, from: scenes, per_scene: 2}
  scenes: {use: split_scenes, from: inputs, min_scene: 15ms}
output: {path: out.jsonl}
limits: {decoders: 3, queue_bytes: 512KiB}
)");
  REQUIRE(graph.stages.size() == 4);
  CHECK(graph.stages[0].name == "images");
  CHECK(graph.stages[0].from == std::vector<int>{GraphStage::kInputs});
  CHECK(graph.stages[1].from == std::vector<int>{2, 0});
  CHECK(graph.stages[1].receives ==
        std::vector<stages::ItemType>{stages::ItemType::frames, stages::ItemType::image});
  CHECK(graph.stages[1].params.integer("max_tokens") == 9);
  CHECK(graph.stages[1].params.text("prompt") == "Describe it.");
  CHECK(graph.stages[1].language != nullptr);
  CHECK(graph.stages[3].params.number("min_scene") == 0.015);
  CHECK(graph.stages[3].params.text("detector") == "adaptive");
  CHECK(graph.stages[3].transform != nullptr);
  CHECK(graph.model.path == "samples/model");
  CHECK(graph.model.weights == engine::ops::WeightType::f32);
  CHECK(graph.inputs.include == std::vector<std::string>{"*.mp4"});
  CHECK(graph.output_path == "out.jsonl");
  CHECK(graph.limits.decoders == 3);
  CHECK(graph.limits.queue_bytes == 512 * 1024);
  CHECK(graph.needs_model());
}

TEST_CASE("graph: durations and sizes in every unit") {
  const auto duration = [](const std::string& text) {
    return test::graph_of(with_stages("  s: {use: split_scenes, from: inputs, min_scene: " + text + "}\n"))
        .stages[0]
        .params.number("min_scene");
  };
  CHECK(duration("0.6s") == 0.6);
  CHECK(duration("15ms") == 0.015);
  CHECK(duration("2min") == 120);
  CHECK(duration("1h") == 3600);
  CHECK(duration("\"0.5 s\"") == 0.5);
  CHECK(duration("3") == 3);
  const auto size = [](const std::string& text) {
    return test::graph_of("version: 1\nlimits: {queue_bytes: " + text +
                          "}\nstages: {s: {use: split_scenes, from: inputs}}\n")
        .limits.queue_bytes;
  };
  CHECK(size("256MiB") == 268435456);
  CHECK(size("2GB") == 2000000000);
  CHECK(size("4096") == 4096);
  CHECK(size("1.5kB") == 1500);
  // Only the cache of pictures can do without any.
  CHECK_THROWS_AS(size("0"), ConfigError);
  CHECK(
      test::graph_of("version: 1\nlimits: {media_cache: 0}\nstages: {s: {use: split_scenes, from: inputs}}\n")
          .limits.media_cache == 0);
}

TEST_CASE("graph: errors of the file as a whole") {
  CHECK(error_of("") == "g.yaml: empty, expected a graph");
  CHECK(error_of("- a\n") ==
        "g.yaml:1:1: the graph is a list, expected a map with version, model, inputs, stages, output and "
        "limits");
  CHECK(error_of("stages: {}\n") == "g.yaml: has no 'version', expected version: 1");
  CHECK(error_of("version: 2\n") == "g.yaml:1:10: 'version' is '2', expected 1");
  CHECK(error_of("version: 1\n") == "g.yaml: has no 'stages', expected at least one");
  CHECK(error_of("version: 1\nstage: {}\n") == "g.yaml:2:1: unknown key 'stage'; did you mean 'stages'?");
  CHECK(error_of("version: 1\nzebra: {}\n") ==
        "g.yaml:2:1: unknown key 'zebra', expected one of version, model, inputs, stages, output, limits");
  CHECK(error_of("version: 1\nstages: [a]\n") == "g.yaml:2:9: 'stages' is a list, expected a map");
  CHECK_THROWS_WITH(parse_graph_file("no/such.yaml"),
                    "no/such.yaml: cannot be read: no such file or directory");
  CHECK_THROWS_WITH(parse_graph_file("/"), "/: cannot be read: is a directory");
}

TEST_CASE("graph: errors of the sections beside the stages") {
  const auto with = [](const std::string& section) {
    return error_of("version: 1\n" + section + "\nstages: {s: {use: split_scenes, from: inputs}}\n");
  };
  CHECK(with("model: {weights: int8}").find("g.yaml:2:") != 0);  // no complaint about that line
  CHECK(with("model: {weights: f16}").find("g.yaml:2:18: 'weights' is 'f16', expected one of f32, bf16") ==
        0);
  CHECK(with("model: {pth: x}") == "g.yaml:2:9: unknown key 'pth' in 'model'; did you mean 'path'?");
  CHECK(with("inputs: {paths: {a: b}}") == "g.yaml:2:17: 'paths' is a map, expected text or a list of texts");
  CHECK(with("inputs: {paths: [a, [b]]}") == "g.yaml:2:21: 'paths' lists a list, expected text");
  CHECK(with("limits: {decoders: 0}") == "g.yaml:2:20: 'decoders' is 0, expected 1 to 256");
  CHECK(with("limits: {input_memory: 63MiB}") ==
        "g.yaml:2:24: 'input_memory' is 66060288 bytes, expected 64MiB to 1TiB");
  CHECK(with("limits: {input_time: 0}").find("'input_time' is 0") != std::string::npos);
  CHECK(with("limits: {decoders: two}") == "g.yaml:2:20: 'decoders' is 'two', expected a whole number");
  CHECK(with("limits: {queue_bytes: 5 miles}") ==
        "g.yaml:2:23: 'queue_bytes' is '5 miles', expected a size such as 4096, 512KiB or 2GB");
  CHECK(with("output: out.jsonl") == "g.yaml:2:9: 'output' is 'out.jsonl', expected a map");
}

TEST_CASE("graph: errors of use and from") {
  CHECK(error_of(with_stages("  c: {use: captoin, from: images}\n")) ==
        "g.yaml:3:12: unknown stage type 'captoin'; did you mean 'caption'?");
  CHECK(error_of(with_stages("  c: {from: images}\n")) == "g.yaml:3:3: stage 'c' has no 'use'");
  CHECK(error_of(with_stages("  c: {use: caption}\n")) ==
        "g.yaml:3:3: stage 'c' has no 'from', expected 'inputs' or other stages");
  CHECK(error_of(with_stages("  c: {use: caption, from: []}\n")) ==
        "g.yaml:3:27: 'from' is an empty list, expected names of stages");
  CHECK(error_of(with_stages("  c: {use: caption, from: [images, images]}\n")) ==
        "g.yaml:3:36: 'from' names 'images' twice");
  CHECK(error_of(
            with_stages("  pages: {use: render_pages, from: inputs}\n  c: {use: caption, from: page}\n")) ==
        "g.yaml:4:27: 'from' names 'page', and there is no such stage; did you mean 'pages'?");
  CHECK(error_of(with_stages("  c:\n")) == "g.yaml:3:3: stage 'c' is empty, expected a map with 'use'");
  CHECK(error_of(with_stages("  c: caption\n")) ==
        "g.yaml:3:6: stage 'c' is 'caption', expected a map with 'use'");
}

TEST_CASE("graph: names that stages cannot have") {
  const auto named = [](const std::string& name) {
    return error_of(with_stages("  " + name + ": {use: split_scenes, from: inputs}\n"));
  };
  CHECK(named("inputs") == "g.yaml:3:3: stage name 'inputs' is taken by a section of the graph");
  CHECK(named("sha256") == "g.yaml:3:3: stage name 'sha256' is taken by a key of every record");
  CHECK(named("a.b") == "g.yaml:3:3: stage name 'a.b' is not made of letters, digits, '_' and '-'");
  CHECK(named("images") ==
        "g.yaml:3:3: stage name 'images' is taken: it stands for the images among the inputs");
  CHECK(error_of(with_stages("  images: {use: read_images, from: inputs, soft_tokens: 560}\n")) ==
        "no error");
}

TEST_CASE("graph: cycles are named with their path") {
  CHECK(error_of(with_stages("  a: {use: sample_frames, from: b}\n  b: {use: sample_frames, from: a}\n")) ==
        "g.yaml:4:33: stages form a cycle: a -> b -> a");
  CHECK(error_of(with_stages("  a: {use: sample_frames, from: a}\n")) ==
        "g.yaml:3:33: stages form a cycle: a -> a");
}

TEST_CASE("graph: a stage that can never receive anything") {
  CHECK(error_of(with_stages("  s: {use: split_scenes, from: inputs}\n  c: {use: caption, from: s}\n")) ==
        "g.yaml:4:27: stage 'c' can never receive anything from 's': caption takes scenes with frames, pages "
        "and "
        "images, 's' gives scenes; put a sample_frames stage between");
  const std::string from_inputs = error_of(with_stages("  c: {use: caption, from: inputs}\n"));
  CHECK(from_inputs.find("; put a read_images or render_pages stage between") != std::string::npos);
  CHECK(error_of(with_stages("  a: {use: caption, from: images}\n  b: {use: caption, from: a}\n")) ==
        "g.yaml:4:27: stage 'b' can never receive anything from 'a': caption takes scenes with frames, pages "
        "and "
        "images, 'a' gives nothing to other stages");
}

TEST_CASE("graph: a unit reaches a stage by one way alone") {
  const std::string two_ways = with_stages(
      "  s: {use: split_scenes, from: inputs}\n  f: {use: sample_frames, from: s}\n"
      "  g: {use: sample_frames, from: s, per_scene: 4}\n");
  CHECK(
      error_of(two_ways + "  c: {use: caption, from: [f, g]}\n") ==
      "g.yaml:6:31: stage 'c' would receive every unit of 's' twice, from 'f' and from 'g'; use two stages");
  CHECK(error_of(two_ways + "  c: {use: caption, from: f}\n  d: {use: caption, from: g}\n") == "no error");
}

TEST_CASE("graph: errors of parameters") {
  CHECK(error_of(caption_with("max_token: 3")) ==
        "g.yaml:4:40: unknown key 'max_token' in stage 'caption'; did you mean 'max_tokens'?");
  CHECK(error_of(caption_with("max_tokens: many")) ==
        "g.yaml:4:52: 'max_tokens' is 'many', expected a whole number");
  CHECK(error_of(caption_with("max_tokens: \"3\"")) ==
        "g.yaml:4:52: 'max_tokens' is the text '3', expected a whole number");
  CHECK(error_of(caption_with("max_tokens: 1.5")) ==
        "g.yaml:4:52: 'max_tokens' is '1.5', expected a whole number");
  CHECK(error_of(caption_with("max_tokens: 99999999999999999999")) ==
        "g.yaml:4:52: 'max_tokens' is '99999999999999999999', expected a whole number");
  CHECK(error_of(caption_with("max_tokens: ")) ==
        "g.yaml:4:40: 'max_tokens' is empty, expected a whole number");
  CHECK(error_of(caption_with("max_tokens: 0")) == "g.yaml:4:52: 'max_tokens' is 0, expected 1 or more");
  CHECK(error_of(caption_with("top_p: 1.5")) == "g.yaml:4:47: 'top_p' is 1.5, expected 1 or less");
  CHECK(error_of(caption_with("temperature: nan")) ==
        "g.yaml:4:53: 'temperature' is 'nan', expected a number");
  CHECK(error_of(caption_with("thinking: yes")) ==
        "g.yaml:4:50: 'thinking' is 'yes', expected true or false");
  CHECK(error_of(caption_with("prompt: [a]")) == "g.yaml:4:48: 'prompt' is a list, expected text");
  CHECK(error_of(caption_with("prompt_file: none.txt")) ==
        "g.yaml:4:53: 'prompt_file' names './none.txt', which cannot be read: no such file");
  CHECK(error_of(with_stages("  s: {use: split_scenes, from: inputs, detector: adaptve}\n")) ==
        "g.yaml:3:50: 'detector' is 'adaptve', expected one of adaptive, content, hash, histogram, "
        "threshold; did you "
        "mean 'adaptive'?");
  CHECK(error_of(with_stages("  s: {use: split_scenes, from: inputs, min_scene: 5 parsecs}\n")) ==
        "g.yaml:3:51: 'min_scene' is '5 parsecs', expected a duration such as 0.6s, 15ms, 2min or 1h");
  CHECK(error_of(with_stages("  s: {use: split_scenes, from: inputs, min_scene: 2h}\n")) ==
        "g.yaml:3:51: 'min_scene' is 2h, expected 0s to 3600s");
  CHECK(error_of(with_stages("  a: {use: ask, from: images}\n")) ==
        "g.yaml:3:3: stage 'a' has no 'questions', expected a map of names to texts");
  CHECK(error_of(with_stages("  a: {use: ask, from: images, questions: {q: [x]}}\n")) ==
        "g.yaml:3:46: 'q' in 'questions' is a list, expected text");
  CHECK(error_of(with_stages("  p: {use: render_pages, from: inputs, pages: backwards}\n")) ==
        "g.yaml:3:47: 'pages' is 'backwards', expected ranges such as 1-20");
}

TEST_CASE("graph: control characters of a wrong name do not reach the terminal") {
  CHECK(error_of(with_stages("  a: {use: \"x\\e[31m\", from: images}\n")).find("'x\\x1b[31m'") !=
        std::string::npos);
}

TEST_CASE("set: replaces, adds and reaches every section") {
  const std::string yaml = caption_with("max_tokens: 9");
  const Graph graph =
      test::graph_of(yaml, {"caption.max_tokens=12", "pages.dpi=72", "model.path=m", "output.path=o.jsonl",
                            "limits.decoders=2", "inputs.include=[\"*.pdf\"]", "pages.exclude=3"});
  CHECK(graph.stages[1].params.integer("max_tokens") == 12);
  CHECK(graph.stages[0].params.integer("dpi") == 72);
  CHECK(graph.stages[0].params.text_list("exclude") == std::vector<std::string>{"3"});
  CHECK(graph.model.path == "m");
  CHECK(graph.output_path == "o.jsonl");
  CHECK(graph.limits.decoders == 2);
  CHECK(graph.inputs.include == std::vector<std::string>{"*.pdf"});
  const Graph images =
      test::graph_of(with_stages("  c: {use: caption, from: [images]}\n"), {"images.soft_tokens=560"});
  CHECK(images.stages[0].params.integer("soft_tokens") == 560);
  const Graph asked = test::graph_of(with_stages("  a: {use: ask, from: images, questions: {q: x}}\n"),
                                     {"a.questions.r=How many?", "a.questions.q=y"});
  CHECK(asked.stages[1].params.text_map("questions") == stages::TextMap{{"q", "y"}, {"r", "How many?"}});
}

TEST_CASE("set: errors name the setting") {
  const std::string yaml = caption_with("max_tokens: 9");
  CHECK(error_of(yaml, {"captoin.prompt=x"}) ==
        "--set captoin.prompt: there is no stage 'captoin'; did you mean 'caption'?");
  CHECK(error_of(yaml, {"caption=x"}) == "--set 'caption=x', expected stage.key=value");
  CHECK(error_of(yaml, {"caption.max_tokens"}) == "--set 'caption.max_tokens', expected stage.key=value");
  CHECK(error_of(yaml, {"caption.max_tokens=x"}) ==
        "--set caption.max_tokens: 'max_tokens' is 'x', expected a whole number");
  CHECK(error_of(yaml, {"caption.max_token=1"}) ==
        "--set caption.max_token: unknown key 'max_token' in stage 'caption'; did you mean 'max_tokens'?");
  CHECK(error_of(yaml, {"caption.prompt='a"}).find("--set caption.prompt: not valid YAML: ") == 0);
  CHECK(error_of(yaml, {"caption.prompt=a: b"}) == "--set caption.prompt: 'prompt' is a map, expected text");
  CHECK(error_of(yaml, {"caption.from=pags"}).find("--set caption.from: 'from' names 'pags'") == 0);
}

TEST_CASE("graph: the resolved graph parses again to the same graph") {
  const std::vector<std::string> graphs = {
      caption_with("prompt: \"a: b\\n\\t\\\"q\\\" \\\\ {x} # yes\\u00e9\", temperature: 0.1, thinking: true"),
      caption_with("prompt: \"\", max_tokens: 1"),
      with_stages(
          "  a: {use: ask, from: [images, p], questions: {\"null\": \"true\", q-1: \"12\", \"x y\": no}}\n"
          "  p: {use: render_pages, from: inputs, pages: 1-20, exclude: [1, \"~\", \"- 3\"], dpi: -1}\n"),
      with_stages("  s: {use: split_scenes, from: inputs, min_scene: 0.0000001s, detector: hash}\n"
                  "  t: {use: transcribe, from: s}\n"),
      "version: 1\nmodel: {path: \"a b/m\", weights: f32}\ninputs: {paths: [\"-\", x], exclude: "
      "[\"*.tmp\"]}\n"
      "output: {path: \"-\"}\nlimits: {decoders: 4, queue_bytes: 1GiB, inputs_in_flight: 2, "
      "input_time: 90s, input_stall: 2.5s, input_memory: 512MiB}\n"
      "stages: {s: {use: split_scenes, from: inputs}}\n"};
  for (const std::string& yaml : graphs) {
    const Graph first = test::graph_of(yaml);
    const std::string printed = graph_to_yaml(first);
    INFO(printed);
    const Graph second = test::graph_of(printed);
    CHECK(graph_to_yaml(second) == printed);
    CHECK(graph_fingerprint(second) == graph_fingerprint(first));
    REQUIRE(second.stages.size() == first.stages.size());
    for (std::size_t i = 0; i < first.stages.size(); ++i) {
      CHECK(second.stages[i].name == first.stages[i].name);
      CHECK(second.stages[i].from == first.stages[i].from);
      CHECK(second.stages[i].params.values() == first.stages[i].params.values());
    }
    CHECK(second.inputs.paths == first.inputs.paths);
    CHECK(second.output_path == first.output_path);
    CHECK(second.limits.queue_bytes == first.limits.queue_bytes);
    CHECK(second.limits.input.time_s == first.limits.input.time_s);
    CHECK(second.limits.input.stall_s == first.limits.input.stall_s);
    CHECK(second.limits.input.memory_bytes == first.limits.input.memory_bytes);
  }
}

TEST_CASE("graph: the fingerprint follows what influences results and nothing else") {
  const std::string yaml = caption_with("max_tokens: 9");
  const std::string base = graph_fingerprint(test::graph_of(yaml));
  CHECK(base.size() == 64);
  CHECK(graph_fingerprint(test::graph_of(yaml, {"caption.max_tokens=9"})) == base);
  CHECK(graph_fingerprint(test::graph_of(yaml, {"caption.prompt=Describe it."})) == base);
  CHECK(graph_fingerprint(test::graph_of(
            yaml, {"output.path=x", "limits.decoders=7", "inputs.paths=y", "model.path=z"})) == base);
  CHECK(graph_fingerprint(test::graph_of(yaml, {"caption.max_tokens=8"})) != base);
  CHECK(graph_fingerprint(test::graph_of(yaml, {"model.weights=f32"})) != base);
}

TEST_CASE("graph: files of parameters start at the graph's folder and enter the fingerprint") {
  const test::TempFolder folder;
  std::filesystem::create_directory(folder / "schemas");
  const auto write = [&](const char* text) { folder.write("schemas/a.json", text); };
  const auto fingerprint = [&] {
    const GraphSpec spec = parse_graph(
        with_stages("  e: {use: extract, from: images, schema: schemas/a.json}\n"), folder / "g.yaml");
    return graph_fingerprint(build_graph(spec, {}, test::fake_stage_types()));
  };
  write("{}");
  const std::string first = fingerprint();
  CHECK(fingerprint() == first);
  write("{ }");
  CHECK(fingerprint() != first);
}

TEST_CASE("graph: the Graphviz form names stages, types and what edges carry") {
  const std::string dot = graph_to_dot(test::graph_of(
      with_stages("  c: {use: caption, from: [f, images]}\n  f: {use: sample_frames, from: s}\n"
                  "  s: {use: split_scenes, from: inputs}\n")));
  CHECK(dot.find("digraph reelfolio {") == 0);
  CHECK(dot.find("\"inputs\" -> \"s\" [label=\"videos\"];") != std::string::npos);
  CHECK(dot.find("\"inputs\" -> \"images\" [label=\"image files\"];") != std::string::npos);
  CHECK(dot.find("\"f\" -> \"c\" [label=\"scenes with frames\"];") != std::string::npos);
  CHECK(dot.find("\"c\" [label=\"c\\ncaption\", style=rounded];") != std::string::npos);
}

TEST_CASE("file hash: SHA-256 of the empty text and of abc") {
  CHECK(sha256_of("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256_of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
