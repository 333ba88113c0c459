#include <algorithm>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "cli/unit_naming.h"
#include "pipeline/graph.h"
#include "pipeline/param_values.h"
#include "tests/support/catch.h"

using namespace reelfolio;
using namespace reelfolio::pipeline;

namespace {

const std::filesystem::path kConfigs = std::filesystem::path(REELFOLIO_SOURCE_DIR) / "configs";

std::vector<std::filesystem::path> config_files() {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(kConfigs)) {
    if (entry.path().extension() == ".yaml") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

const SpecValue* find(const SpecValue::Map& map, const std::string& key) {
  for (const auto& entry : map) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

}  // namespace

TEST_CASE("configs: every graph builds, and its resolved form builds to the same") {
  const auto files = config_files();
  REQUIRE(files.size() >= 6);
  for (const auto& file : files) {
    CAPTURE(file.string());
    const Graph graph = build_graph(parse_graph_file(file));
    CHECK_FALSE(graph.stages.empty());
    const Graph again = build_graph(parse_graph(graph_to_yaml(graph), file));
    CHECK(graph_to_yaml(again) == graph_to_yaml(graph));
    CHECK(graph_fingerprint(again) == graph_fingerprint(graph));
  }
}

TEST_CASE("configs: all-options.yaml names every parameter of every stage type, with its default") {
  const GraphSpec spec = parse_graph_file(kConfigs / "all-options.yaml");
  std::set<std::string> shown;
  for (const StageSpec& stage : spec.stages) {
    const SpecValue* use = find(stage.entries, "use");
    REQUIRE(use != nullptr);
    const std::string name = std::get<SpecValue::Scalar>(use->data).text;
    const stages::StageType* type = stages::find_stage_type(name);
    REQUIRE(type != nullptr);
    shown.insert(name);
    for (const stages::ParamSpec& param : type->params) {
      CAPTURE(name, param.name);
      const SpecValue* value = find(stage.entries, param.name);
      REQUIRE(value != nullptr);
      if (std::holds_alternative<std::monostate>(param.default_value)) continue;
      CHECK(param_to_yaml(read_param(*value, param), param.type) ==
            param_to_yaml(param.default_value, param.type));
    }
  }
  for (const stages::StageType& type : stages::stage_types()) {
    CAPTURE(std::string(type.name));
    CHECK(shown.count(std::string(type.name)) == 1);
  }
}

TEST_CASE("configs: all-options.yaml shows every setting of the sections with its default") {
  const GraphSpec spec = parse_graph_file(kConfigs / "all-options.yaml");
  const Graph graph = build_graph(spec);
  const Graph plain =
      build_graph(parse_graph("version: 1\nstages: {a: {use: caption, from: images}}\n", "g.yaml"));
  CHECK(graph.model.weights == plain.model.weights);
  CHECK(graph.limits.decoders == plain.limits.decoders);
  CHECK(graph.limits.queue_bytes == plain.limits.queue_bytes);
  CHECK(graph.limits.inputs_in_flight == plain.limits.inputs_in_flight);
  for (const char* key : {"paths", "include", "exclude"}) CHECK(find(spec.inputs, key) != nullptr);
  for (const char* key : {"path", "weights"}) CHECK(find(spec.model, key) != nullptr);
  for (const char* key : {"decoders", "queue_bytes", "inputs_in_flight"})
    CHECK(find(spec.limits, key) != nullptr);
  for (const char* key : {"path", "subtitles", "subtitles_folder"}) CHECK(find(spec.output, key) != nullptr);
}

TEST_CASE("stage types: sorted by name, each with one factory and described") {
  const auto types = stages::stage_types();
  CHECK(std::is_sorted(types.begin(), types.end(),
                       [](const auto& a, const auto& b) { return a.name < b.name; }));
  for (const stages::StageType& type : types) {
    CAPTURE(std::string(type.name));
    CHECK((type.make_transform != nullptr) != (type.make_language != nullptr));
    CHECK(type.produces.empty() == (type.make_language != nullptr));
    CHECK_FALSE(type.help.empty());
    CHECK_FALSE(type.accepts.empty());
    for (const stages::ParamSpec& param : type.params) CHECK_FALSE(param.help.empty());
  }
}

TEST_CASE("unit naming: kinds that two stages cut are named, others are not") {
  const auto kinds = [](const char* yaml) {
    return cli::kinds_cut_twice(build_graph(parse_graph(yaml, "g.yaml")));
  };
  CHECK(kinds("version: 1\nstages: {s: {use: split_scenes, from: inputs}, f: {use: sample_frames, from: s}, "
              "c: {use: caption, from: [f, images]}}\n")
            .empty());
  CHECK(kinds("version: 1\nstages: {s: {use: split_scenes, from: inputs}, t: {use: split_scenes, from: "
              "inputs}}\n") == std::vector<stages::UnitKind>{stages::UnitKind::scene});
}

TEST_CASE("graphs: transcribe takes scenes, frames and inputs through a split_audio stage of its own") {
  const Graph graph =
      build_graph(parse_graph("version: 1\nstages:\n  scenes: {use: split_scenes, from: inputs}\n"
                              "  frames: {use: sample_frames, from: scenes}\n"
                              "  speech: {use: transcribe, from: scenes}\n"
                              "  again: {use: transcribe, from: [scenes, inputs], language: German}\n"
                              "  seen: {use: transcribe, from: frames}\n"
                              "output: {path: out.jsonl, subtitles: [srt, vtt]}\n",
                              "g.yaml"));
  std::vector<std::string> names;
  for (const GraphStage& stage : graph.stages) names.push_back(stage.name);
  CHECK(names == std::vector<std::string>{"scenes", "frames", "scenes_split_audio", "speech",
                                          "inputs_split_audio", "again", "frames_split_audio", "seen"});
  CHECK(graph.stages[3].from == std::vector<int>{2});
  CHECK(graph.stages[5].from == std::vector<int>{2, 4});
  CHECK(graph.stages[2].receives == std::vector<stages::ItemType>{stages::ItemType::scene});
  CHECK(graph.stages[3].receives == std::vector<stages::ItemType>{stages::ItemType::heard_scene});
  CHECK(graph.stages[7].receives == std::vector<stages::ItemType>{stages::ItemType::heard_frames});
  CHECK(graph.transcripts() == std::vector<std::string>{"speech", "again", "seen"});
  CHECK(graph.subtitles ==
        std::vector<stages::SubtitleFormat>{stages::SubtitleFormat::srt, stages::SubtitleFormat::vtt});
  const Graph again = build_graph(parse_graph(graph_to_yaml(graph), "g.yaml"));
  CHECK(graph_to_yaml(again) == graph_to_yaml(graph));
  CHECK(cli::kinds_cut_twice(graph).empty());
}

TEST_CASE("graphs: --set reaches stages that stand between two, and tells where there is none") {
  const auto built = [](const std::vector<std::string>& settings) {
    GraphSpec spec = parse_graph(
        "version: 1\nstages:\n  scenes: {use: split_scenes, from: inputs}\n"
        "  speech: {use: transcribe, from: [scenes, inputs]}\n",
        "g.yaml");
    for (const std::string& setting : settings) apply_setting(spec, setting);
    return build_graph(spec);
  };
  const Graph graph = built({"scenes_split_audio.max_clip=20s", "inputs_split_audio.track=2",
                             "scenes_split_audio.min_clip=5s", "scenes_split_audio.max_clip=15s"});
  const auto stage = [&](const std::string& name) -> const GraphStage& {
    return *std::find_if(graph.stages.begin(), graph.stages.end(),
                         [&](const GraphStage& each) { return each.name == name; });
  };
  CHECK(stage("scenes_split_audio").params.number("max_clip") == 15);
  CHECK(stage("scenes_split_audio").params.number("min_clip") == 5);
  CHECK(stage("inputs_split_audio").params.integer("track") == 2);
  CHECK(stage("inputs_split_audio").params.number("max_clip") == 30);
  const auto error = [&](const std::string& setting) {
    try {
      built({setting});
    } catch (const ConfigError& refused) {
      return std::string(refused.what());
    }
    return std::string();
  };
  CHECK(error("scenes_split_audi.max_clip=20s") ==
        "--set scenes_split_audi.max_clip: there is no stage 'scenes_split_audi'; did you mean "
        "'scenes_split_audio'?");
  CHECK(error("scenes_split_audio.max_clp=20s").find("--set scenes_split_audio.max_clp: unknown key") == 0);
  CHECK(error("scenes_split_audio.max_clip=x").find("--set scenes_split_audio.max_clip: 'max_clip' is 'x'") ==
        0);
  CHECK(
      error("scenes_split_audio.from=inputs") ==
      "--set scenes_split_audio.from: stage 'scenes_split_audio' is not written in the graph: its parameters "
      "alone can be set");
}

TEST_CASE("graphs: 'sounds' stands for the sound files among the inputs") {
  GraphSpec spec = parse_graph(
      "version: 1\nstages:\n  scenes: {use: split_scenes, from: inputs}\n"
      "  speech: {use: transcribe, from: [scenes, sounds]}\n"
      "  caption: {use: caption, from: [images, sounds]}\n",
      "g.yaml");
  const Graph graph = build_graph(spec);
  std::vector<std::string> names;
  for (const GraphStage& stage : graph.stages) names.push_back(stage.name);
  CHECK(names ==
        std::vector<std::string>{"images", "sounds", "scenes", "scenes_split_audio", "speech", "caption"});
  CHECK(graph.stages[1].receives == std::vector<stages::ItemType>{stages::ItemType::sound});
  CHECK(graph.stages[4].receives ==
        std::vector<stages::ItemType>{stages::ItemType::heard_scene, stages::ItemType::clip});
  const Graph again = build_graph(parse_graph(graph_to_yaml(graph), "g.yaml"));
  CHECK(graph_to_yaml(again) == graph_to_yaml(graph));
  CHECK(again.stages[1].receives == graph.stages[1].receives);
  apply_setting(spec, "sounds.max_clip=20s");
  CHECK(build_graph(spec).stages[1].params.number("max_clip") == 20);
  const auto error = [](const std::string& stages) {
    try {
      build_graph(parse_graph("version: 1\nstages:\n" + stages, "g.yaml"));
    } catch (const ConfigError& refused) {
      return std::string(refused.what());
    }
    return std::string();
  };
  CHECK(error("  sounds: {use: split_scenes, from: inputs}\n").find("stands for the sound files") !=
        std::string::npos);
  CHECK(error("  scenes: {use: split_scenes, from: inputs}\n  sounds: {use: split_audio, from: scenes}\n")
            .find("can never receive anything") != std::string::npos);
}

TEST_CASE("graphs: what split_audio gives depends on what it is given") {
  const auto error = [](const std::string& stages) {
    try {
      build_graph(parse_graph("version: 1\nstages:\n  scenes: {use: split_scenes, from: inputs}\n" + stages,
                              "g.yaml"));
    } catch (const ConfigError& refused) {
      return std::string(refused.what());
    }
    return std::string();
  };
  const std::string heard = "  heard: {use: split_audio, from: scenes}\n  c: {use: caption, from: heard}\n";
  CHECK(error(heard).find("can never receive anything from 'heard'") != std::string::npos);
  CHECK(error("  frames: {use: sample_frames, from: scenes}\n  heard: {use: split_audio, from: frames}\n"
              "  c: {use: caption, from: heard, mode: video}\n")
            .empty());
  CHECK(error("  clips: {use: split_audio, from: inputs}\n  c: {use: caption, from: clips}\n").empty());
  CHECK(error("  clips: {use: split_audio, from: inputs}\n  t: {use: transcribe, from: clips}\n").empty());
  CHECK(error("  c: {use: caption, from: scenes}\noutput: {subtitles: srt}\n").find("sample_frames") !=
        std::string::npos);
}

TEST_CASE("graphs: subtitles need a transcript and a format that there is") {
  const auto error = [](const std::string& rest) {
    try {
      build_graph(
          parse_graph("version: 1\nstages:\n  images: {use: read_images, from: inputs}\n" + rest, "g.yaml"));
    } catch (const ConfigError& refused) {
      return std::string(refused.what());
    }
    return std::string();
  };
  CHECK(error("output: {subtitles: srt}\n")
            .find("g.yaml:4:10: 'subtitles' are made of what a transcribe stage") == 0);
  CHECK(error("  t: {use: transcribe, from: inputs}\noutput: {subtitles: [ass]}\n")
            .find("'ass', expected srt or vtt") != std::string::npos);
}
