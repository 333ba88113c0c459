#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/e2e/program.h"
#include "tests/e2e/small_inputs.h"
#include "tests/support/catch.h"

using namespace reelfolio::test;

namespace {

constexpr const char* kIdentityGraph =
    "version: 1\n"
    "stages:\n"
    "  scenes: {use: split_scenes, from: inputs}\n"
    "  frames: {use: sample_frames, from: scenes, per_scene: 1, soft_tokens: 70}\n"
    "  pages: {use: render_pages, from: inputs, dpi: 30, soft_tokens: 70}\n"
    "  images: {use: read_images, from: inputs, soft_tokens: 70}\n"
    "  caption: {use: caption, from: [frames, pages, images], max_tokens: 5}\n"
    "  answers: {use: ask, from: images, max_tokens: 3, temperature: 1, samples: 2,"
    " questions: {a: \"What?\", b: \"Which colour?\"}}\n";

/// A film, pictures, PDFs and a broken file, and runs over them that differ in what must not matter.
class SameWork {
 public:
  SameWork() : graph_(folder_.write("g.yaml", kIdentityGraph)) {
    for (int i = 0; i < 5; ++i) {
      const std::string name = std::to_string(100 + i) + (i % 2 == 0 ? ".ppm" : ".pdf");
      inputs.push_back(inputs_.write(name, i % 2 == 0 ? picture(i) : document(i, 2)).string());
    }
    inputs.push_back(inputs_.write("broken.pdf", "%PDF-1.4\nnothing more").string());
    inputs.emplace_back(REELFOLIO_SOURCE_DIR "/samples/inbox/shapes.mp4");
  }

  Invocation invocation(const std::vector<std::string>& options, const std::string& to,
                        const std::vector<std::string>& files) const {
    Invocation made{.arguments = {"run", graph_.string(), "-q", "-o", to, "--model",
                                  REELFOLIO_SOURCE_DIR "/samples/model"},
                    .variables = {{"OMP_WAIT_POLICY", "passive"}}};
    made.arguments.insert(made.arguments.end(), options.begin(), options.end());
    made.arguments.insert(made.arguments.end(), files.begin(), files.end());
    return made;
  }
  std::string bytes(const std::vector<std::string>& options) const {
    const Outcome outcome = run_program(invocation(options, "-", inputs));
    CAPTURE(outcome.err);
    CHECK(outcome.status == 3);
    return outcome.out;
  }
  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  std::vector<std::string> inputs;

 private:
  TempFolder folder_;
  TempFolder inputs_;
  std::filesystem::path graph_;
};

std::vector<std::string> options_of(const std::string& weights, int threads, int decoders, int batch) {
  return {"--weights",  weights,
          "--threads",  std::to_string(threads),
          "--decoders", std::to_string(decoders),
          "--set",      "limits.batch=" + std::to_string(batch)};
}

/// The lines of each input, in their order.
std::map<std::string, std::string> lines_by_input(const std::string& jsonl) {
  std::map<std::string, std::string> lines;
  for (const nlohmann::json& line : json_lines(jsonl)) {
    lines[line["input"].get<std::string>()] += line.dump() + "\n";
  }
  return lines;
}

}  // namespace

TEST_CASE("e2e: the same bytes for any threads, decoders and batch, isolated or not") {
  const SameWork work;
  for (const char* weights : {"int8", "f32"}) {
    CAPTURE(weights);
    const std::string expected = work.bytes(options_of(weights, 1, 1, 1));
    CHECK(json_lines(expected).size() > 15);
    CHECK(work.bytes(options_of(weights, 2, 1, 16)) == expected);
    CHECK(work.bytes(options_of(weights, 1, 4, 16)) == expected);
    std::vector<std::string> direct = options_of(weights, 2, 2, 3);
    direct.emplace_back("--no-isolation");
    CHECK(work.bytes(direct) == expected);
  }
}

TEST_CASE("e2e: the same bytes with integer weights where AVX2 has to do") {
  const SameWork work;
  std::vector<std::string> options = options_of("int8", 2, 1, 16);
  const std::string expected = work.bytes(options);
  options.insert(options.end(), {"--kernels", "avx2"});
  CHECK(work.bytes(options) == expected);
}

TEST_CASE("e2e: the same lines of each input in whatever order inputs are named") {
  const SameWork work;
  const std::vector<std::string> options = options_of("int8", 1, 2, 16);
  const auto expected = lines_by_input(work.bytes(options));
  CHECK(expected.size() == work.inputs.size());
  SameWork shuffled;
  shuffled.inputs = work.inputs;
  std::mt19937 random(5);
  std::shuffle(shuffled.inputs.begin(), shuffled.inputs.end(), random);
  CHECK(shuffled.inputs != work.inputs);
  CHECK(lines_by_input(shuffled.bytes(options)) == expected);
}

TEST_CASE("e2e: the same bytes for runs that were interrupted and went on otherwise, and for shards") {
  const SameWork work;
  const std::string expected = work.bytes(options_of("int8", 1, 1, 1));
  const std::string output = work.path("out.jsonl");
  std::mt19937 random(9);
  int interrupted = 0;
  for (int attempt = 0; attempt < 4; ++attempt) {
    const auto options = options_of("int8", 1 + attempt % 2, 1 + attempt % 3, attempt % 2 == 0 ? 16 : 1);
    RunningProgram program(work.invocation(options, output, work.inputs));
    std::this_thread::sleep_for(std::chrono::milliseconds(100 + random() % 400));
    program.send(SIGTERM);
    const int status = program.wait().status;
    CHECK((status == 143 || status == 3));
    interrupted += status == 143 ? 1 : 0;
  }
  CAPTURE(interrupted);
  CHECK(run_program(work.invocation(options_of("int8", 2, 2, 16), output, work.inputs)).status == 3);
  CHECK(read_file(output) == expected);

  std::vector<std::string> merge = {"merge", "-o", "-"};
  for (const char* shard : {"2/2", "1/2"}) {
    std::vector<std::string> options = options_of("int8", 2, 1, shard[0] == '1' ? 1 : 16);
    options.insert(options.end(), {"--shard", shard});
    merge.push_back(work.path(std::string("part") + shard[0] + ".jsonl"));
    const int status = run_program(work.invocation(options, merge.back(), work.inputs)).status;
    CHECK((status == 0 || status == 3));
  }
  CHECK(run(merge).out == expected);
}
