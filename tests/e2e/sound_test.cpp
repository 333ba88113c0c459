#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/e2e/program.h"
#include "tests/support/catch.h"

using namespace reelfolio::test;

namespace {

const std::string kSpoken = kSamples + "/inbox/spoken.mp4";

constexpr const char* kTranscribed =
    "version: 1\nstages:\n  scenes: {use: split_scenes, from: inputs}\n"
    "  speech: {use: transcribe, from: scenes}\n"
    "output: {subtitles: srt}\n";

/// The sample model as a folder of its own whose configuration names no audio tower.
std::string deaf_model(const TempFolder& folder) {
  std::filesystem::copy(kSamples + "/model", folder / "deaf");
  auto config = nlohmann::json::parse(read_file(folder / "deaf" / "config.json"));
  REQUIRE(config["audio_config"].is_object());
  config["audio_config"] = nullptr;
  return folder.write("deaf/config.json", config.dump()).parent_path().string();
}

}  // namespace

TEST_CASE("e2e: clips of a film and its scenes stand in the output with their times") {
  const TempFolder folder;
  const auto graph = folder.write("g.yaml",
                                  "version: 1\nstages:\n"
                                  "  clips: {use: split_audio, from: inputs, min_clip: 3s, max_clip: 5s}\n"
                                  "  scenes: {use: split_scenes, from: inputs}\n"
                                  "  heard: {use: split_audio, from: scenes}\n");
  const Outcome outcome =
      run({"run", graph.string(), kSpoken, kSamples + "/inbox/invoice.pdf", "-o", "-", "-q"});
  CHECK(outcome.err.empty());
  CHECK(outcome.status == 0);
  const auto lines = json_lines(outcome.out);
  double end_s = 0;
  std::size_t clips = 0;
  std::size_t scenes = 0;
  for (const auto& line : lines) {
    if (line["type"] != "unit") continue;
    if (line["unit"]["kind"] == "scene") ++scenes;
    if (line["unit"]["kind"] != "clip") continue;
    CHECK(line["unit"]["index"] == clips++);
    CHECK(line["unit"]["start_s"].get<double>() == Approx(end_s));
    end_s = line["unit"]["end_s"].get<double>();
    CHECK(end_s - line["unit"]["start_s"].get<double>() <= 5);
  }
  CHECK(clips >= 3);
  CHECK(scenes == 3);
  CHECK(end_s == Approx(10.4).margin(0.1));
  CHECK(lines.back()["media"] == "pdf");
  CHECK(lines.back()["status"] == "skipped");
}

TEST_CASE("e2e: a model that does not hear refuses speech, unit by unit, silence it is not asked about") {
  const TempFolder folder;
  const auto graph = folder.write("g.yaml", kTranscribed);
  const auto output = folder / "out.jsonl";
  const Outcome outcome = run({"run", graph.string(), kSpoken, kSamples + "/inbox/shapes.mp4", "-o",
                               output.string(), "-q", "--model", deaf_model(folder)});
  CHECK(outcome.status == 3);
  const auto lines = json_lines(read_file(output));
  bool refused = false;
  bool mute = false;
  for (const auto& line : lines) {
    if (line["type"] == "unit" && line["input"] == kSamples + "/inbox/shapes.mp4") {
      mute = true;
      CHECK(line["speech"]["no_audio"] == true);
      CHECK(line["speech"]["no_speech"] == true);
    }
    if (line["type"] != "input" || line["input"] != kSpoken) continue;
    CHECK(line["status"] == "failed");
    for (const auto& error : line["errors"]) refused = refused || error["code"] == "request.refused";
  }
  CHECK(refused);
  CHECK(mute);
  const auto subtitles = folder / "out.jsonl.subtitles";
  CHECK(read_file(subtitles / (kSamples.substr(1) + "/inbox/shapes.mp4.srt")).empty());
  CHECK(std::filesystem::exists(subtitles / (kSamples.substr(1) + "/inbox/shapes.mp4.srt")));
  CHECK_FALSE(std::filesystem::exists(subtitles / (kSamples.substr(1) + "/inbox/spoken.mp4.srt")));
}

TEST_CASE(
    "e2e: ask about a film leaves its sound out where the model does not hear, about a sound it says why "
    "not") {
  const TempFolder folder;
  const std::vector<std::string> model = {"--model", deaf_model(folder), "--max-tokens", "8"};
  std::vector<std::string> film = {"ask", kSpoken, "Which shapes are visible?"};
  film.insert(film.end(), model.begin(), model.end());
  const Outcome seen = run(film);
  CHECK(seen.status == 0);
  CHECK(seen.err.find("the model does not hear, so the video's sound is left out") != std::string::npos);
  CHECK_FALSE(seen.out.empty());

  // One second of 8 bits at 8 kHz.
  std::string wav =
      "RIFF" + std::string("\x64\x1f\0\0", 4) + "WAVEfmt " + std::string("\x10\0\0\0\1\0\1\0", 8) +
      std::string("\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0", 12) + "data" + std::string("\x40\x1f\0\0", 4);
  for (int i = 0; i < 8000; ++i) wav += static_cast<char>(i % 16 < 8 ? 100 : 156);
  std::vector<std::string> sound = {"ask", folder.write("tone.wav", wav).string(), "What is said?"};
  sound.insert(sound.end(), model.begin(), model.end());
  const Outcome heard = run(sound);
  CHECK(heard.status == 3);
  CHECK(heard.out.empty());
  CHECK_FALSE(heard.err.empty());
}

TEST_CASE("e2e: subtitles of lines on stdout need a folder of their own") {
  const TempFolder folder;
  const auto graph = folder.write("g.yaml",
                                  "version: 1\nstages: {speech: {use: transcribe, from: inputs}}\n"
                                  "output: {subtitles: srt}\n");
  const Outcome outcome = run({"run", graph.string(), kSpoken, "--model", kSamples + "/model"});
  CHECK(outcome.status == 2);
  CHECK(outcome.err.find("subtitles_folder") != std::string::npos);
}

TEST_CASE("e2e: the sample model writes down what is said in each scene, and subtitles with its times") {
  const TempFolder folder;
  const auto graph = folder.write("g.yaml", kTranscribed);
  const auto output = folder / "out.jsonl";
  const Outcome outcome = run({"run", graph.string(), kSpoken, "-o", output.string(), "-q", "--model",
                               kSamples + "/model", "--weights", "f32"});
  CHECK(outcome.status == 0);
  // samples/make_samples.py: what is said, from half a second after each scene begins.
  const std::vector<std::pair<std::string, double>> spoken = {
      {"9 5 4", 0.5}, {"turn off the lamp", 4.1}, {"wait for 10 minutes", 7.3}};
  std::size_t scene = 0;
  for (const auto& line : json_lines(read_file(output))) {
    if (line["type"] != "unit") continue;
    REQUIRE(scene < spoken.size());
    const auto& [text, start_s] = spoken[scene++];
    const auto& speech = line["speech"];
    CHECK(speech["text"] == text);
    CHECK(speech["language"] == "English");
    CHECK(speech["no_speech"] == false);
    REQUIRE(speech["clips"].size() == 1);
    CHECK(speech["clips"][0]["start_s"].get<double>() == Approx(start_s).margin(0.25));
  }
  CHECK(scene == spoken.size());
  const std::string subtitles =
      read_file(folder / "out.jsonl.subtitles" / (kSamples.substr(1) + "/inbox/spoken.mp4.srt"));
  CHECK(subtitles.find("turn off the lamp") != std::string::npos);
}
