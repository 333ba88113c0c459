#include <fstream>
#include <iterator>
#include <optional>

#include "pipeline/explain.h"
#include "pipeline/run_report.h"
#include "stages/write_jsonl.h"
#include "tests/support/catch.h"
#include "tests/support/fake_stages.h"
#include "tests/support/temp_folder.h"

using namespace reelfolio;
using namespace reelfolio::pipeline;
namespace fs = std::filesystem;

namespace {

Graph graph_of_pages() {
  return build_graph(
      parse_graph("version: 1\nstages:\n  pages: {use: render_pages, from: inputs}\n"
                  "  a: {use: caption, from: pages}\n  b: {use: ask, from: pages, questions: {q: refuse}}\n",
                  "g.yaml"),
      {}, test::fake_stage_types());
}

RunOptions fake_options() {
  RunOptions options;
  options.probe = test::fake_probe;
  return options;
}

std::vector<std::string> explained(const std::string& name) {
  const Graph graph = graph_of_pages();
  test::RecordingSink sink;
  test::CountingProgress progress;
  test::FakeEngine engine;
  run_graph(graph, {{name, name, ""}}, &engine, sink, progress, {}, fake_options());
  return explain_result(graph, sink.results.at(0));
}

}  // namespace

TEST_CASE("report: everything stands in it and it is written whole") {
  RunReport report;
  report.version = "0.1.0";
  report.graph_fingerprint = "abc";
  report.machine = {"A CPU", 2, 1024};
  report.options = {{"threads", 2}, {"output", "out.jsonl"}};
  report.summary.ok = 3;
  report.summary.stage_costs["caption"] = {1.5, 3, 30, 6};
  report.peak_memory = 4096;

  std::optional<test::TempFolder> folder(std::in_place);
  const fs::path path = run_report_path(*folder / "out.jsonl");
  CHECK(path.filename() == "out.jsonl.run.json");
  write_run_report(path, report);
  write_run_report(path, report);
  std::ifstream stream(path);
  const stages::Json read = stages::Json::parse(stream);
  CHECK(read["version"] == "0.1.0");
  CHECK(read["model_fingerprint"].is_null());
  CHECK(read["machine"]["cpu"] == "A CPU");
  CHECK(read["options"]["threads"] == 2);
  CHECK(read["counts"]["ok"] == 3);
  CHECK(read["stages"]["caption"]["generated_tokens"] == 6);
  CHECK(read["peak_memory_bytes"] == 4096);
  CHECK(std::distance(fs::directory_iterator(folder->path()), fs::directory_iterator()) ==
        1);  // no temporary file is left
  CHECK((fs::status(path).permissions() & fs::perms::owner_read) == fs::perms::owner_read);
  folder.reset();
  CHECK_THROWS_AS(write_run_report(path, report), stages::OutputError);
}

TEST_CASE("report: the machine has cores, memory and a peak") {
  const Machine machine = this_machine();
  CHECK(machine.cores >= 1);
  CHECK(machine.memory_bytes > peak_memory_bytes());
  CHECK(peak_memory_bytes() > 100'000);
}

TEST_CASE("explain: the plan says where an input goes, or why nowhere") {
  const Graph graph = graph_of_pages();
  const auto plan = [&](const std::string& path, const std::string& error = "") {
    return plan_input(graph, {path, path, error}, fake_options());
  };
  CHECK(plan("pdf:1") == "pdf:1: pdf, goes to pages");
  CHECK(plan("text") == "text: text, skipped: no stage takes text files");
  CHECK(plan("unknown") ==
        "unknown: failed: input.unsupported: the content is no video, PDF, image, sound or text");
  CHECK(plan("gone") == "gone: failed: input.unreadable: it has vanished");
  CHECK(plan("x", "no such file or directory") == "x: failed: input.unreadable: no such file or directory");
}

TEST_CASE("explain: a result names what answered and what failed, and why") {
  using Lines = std::vector<std::string>;
  CHECK(explained("pdf:3:bad2") == Lines{"pdf:3:bad2: partial: 1 of 2 units without error", "  page 1: a, b",
                                         "  page 2: a; b failed: request.refused: the prompt is refused",
                                         "  page 3: pages failed: fake.bad: unit 2 is bad"});
  CHECK(explained("pdf:1:truncated") == Lines{"pdf:1:truncated: partial: 1 of 1 unit without error",
                                              "  page 1: a, b",
                                              "  input: pages failed: fake.truncated: the end is missing"});
  CHECK(explained("text") == Lines{"text: skipped: no stage takes text files"});
  CHECK(explained("gone") == Lines{"gone: failed: 1 error, no result",
                                   "  input: inputs failed: input.unreadable: it has vanished"});
}
