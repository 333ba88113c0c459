#include "tests/e2e/kills.h"

#include <chrono>
#include <csignal>
#include <filesystem>
#include <random>
#include <thread>
#include <vector>

#include "tests/e2e/program.h"
#include "tests/e2e/small_inputs.h"

namespace reelfolio::test {

namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kGraph =
    "version: 1\n"
    "stages:\n"
    "  pages: {use: render_pages, from: inputs, dpi: 30, soft_tokens: 70}\n"
    "  images: {use: read_images, from: inputs, soft_tokens: 70}\n"
    "  caption: {use: caption, from: [pages, images], max_tokens: 6}\n"
    "  answers: {use: ask, from: images, max_tokens: 4, questions: {a: \"What?\", b: \"Why?\"}}\n";

class Batch {
 public:
  Batch() : graph_(folder_.write("g.yaml", kGraph)) {
    for (int i = 0; i < 12; ++i) {
      const std::string name = std::to_string(100 + i);
      if (i % 4 == 1) {
        inputs_.write(name + ".pdf", document(i, 1 + i % 3));
      } else if (i % 4 == 3) {
        inputs_.write(name + ".pdf", "%PDF-1.4\nnothing more");
      } else {
        inputs_.write(name + ".ppm", picture(i));
      }
    }
  }

  std::filesystem::path output() const { return folder_ / "out.jsonl"; }
  Invocation invocation(const std::string& output) const {
    return {.arguments = {"run", graph_.string(), (inputs_ / "").string(), "--model",
                          REELFOLIO_SOURCE_DIR "/samples/model", "--weights", "f32", "--threads", "1", "-q",
                          "-o", output},
            .variables = {{"OMP_WAIT_POLICY", "passive"}}};
  }
  void forget() const {
    for (const auto& entry : std::filesystem::directory_iterator(folder_ / "")) {
      if (entry.path() != graph_) std::filesystem::remove_all(entry.path());
    }
  }

 private:
  TempFolder folder_;
  TempFolder inputs_;
  std::filesystem::path graph_;
};

/// What is wrong with what a killed run has left; empty: nothing.
std::string check_remains(const std::filesystem::path& output, const std::string& expected) {
  if (std::filesystem::exists(output) && read_file(output) != expected)
    return "an output appeared that is not whole";
  // Whole lines at the front of the partial file are those of the whole output.
  const std::filesystem::path partial = output.string() + ".partial";
  if (!std::filesystem::exists(partial)) return {};
  const std::string text = read_file(partial);
  return expected.compare(0, text.size(), text) == 0 ? "" : "the partial file is no beginning of the output";
}

}  // namespace

KillReport kill_runs(std::size_t kills, unsigned seed, const std::function<void(const KillReport&)>& tell) {
  const Batch batch;
  KillReport report;
  const auto start = Clock::now();
  const Outcome undisturbed = run_program(batch.invocation("-"));
  const std::chrono::duration<double> whole = Clock::now() - start;
  if (undisturbed.status != 3)
    report.failure = "the run that nothing disturbs ends with " + std::to_string(undisturbed.status);
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> moment(0, whole.count() * 0.8);
  const std::string output = batch.output().string();
  while (report.failure.empty()) {
    const bool last = report.kills >= kills;
    RunningProgram program(batch.invocation(output));
    const auto deadline = Clock::now() + std::chrono::duration<double>(moment(random));
    while (program.running() && (last || Clock::now() < deadline)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    if (program.running()) {
      program.send(SIGKILL);
      program.wait();
      ++report.kills;
      report.failure = check_remains(batch.output(), undisturbed.out);
      continue;
    }
    const Outcome outcome = program.wait();
    ++report.finished;
    if (outcome.status != 3) {
      report.failure = "a run ends with " + std::to_string(outcome.status) + ": " + outcome.err;
    } else if (read_file(batch.output()) != undisturbed.out) {
      report.failure = "the output is not that of a run that nothing disturbed";
    }
    const auto counts = nlohmann::json::parse(read_file(output + ".run.json"))["counts"];
    report.kept_inputs += counts["reused"].get<std::size_t>();
    if (tell) tell(report);
    if (last) break;
    batch.forget();
  }
  return report;
}

}  // namespace reelfolio::test
