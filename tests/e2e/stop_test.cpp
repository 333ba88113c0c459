#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/e2e/program.h"
#include "tests/support/catch.h"

using namespace reelfolio::test;

namespace {

const std::string kPicture = REELFOLIO_SOURCE_DIR "/samples/inbox/still.png";

/// Far more work than a test waits for: copies of one picture, long answers about each.
struct LongRun {
  LongRun() {
    for (int i = 0; i < 400; ++i) {
      std::filesystem::create_symlink(kPicture, inputs / ("picture" + std::to_string(1000 + i) + ".png"));
    }
    const auto graph = folder.write("g.yaml",
                                    "version: 1\n"
                                    "stages:\n"
                                    "  images: {use: read_images, from: inputs, soft_tokens: 280}\n"
                                    "  caption: {use: caption, from: images, max_tokens: 200}\n");
    arguments = {
        "run", graph.string(), (inputs / "").string(), "--model", kModel, "--weights", "f32", "--threads",
        "1",   "-o",           output.string()};
  }
  TempFolder inputs;
  TempFolder folder;
  std::filesystem::path output = folder / "out.jsonl";
  std::filesystem::path partial = folder / "out.jsonl.partial";
  std::vector<std::string> arguments;
};

/// Waits until `condition` holds or the program has ended.
template <class Condition>
void wait_until(RunningProgram& program, Condition condition) {
  while (program.running() && !condition()) std::this_thread::sleep_for(std::chrono::milliseconds(20));
}

/// A reader of a named pipe, which opens without a writer.
class PipeReader {
 public:
  explicit PipeReader(const std::filesystem::path& path) {
    REQUIRE(mkfifo(path.c_str(), 0600) == 0);
    descriptor_ = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    REQUIRE(descriptor_ >= 0);
  }
  ~PipeReader() { close_now(); }
  PipeReader(const PipeReader&) = delete;
  PipeReader& operator=(const PipeReader&) = delete;
  bool got_something() const {
    char byte = 0;
    return read(descriptor_, &byte, 1) == 1;
  }
  void close_now() {
    if (descriptor_ >= 0) close(descriptor_);
    descriptor_ = -1;
  }

 private:
  int descriptor_ = -1;
};

}  // namespace

TEST_CASE("e2e: a stopped run keeps whole lines in the partial file, writes its report and leaves no lock") {
  struct Stop {
    int signal;
    int status;
  };
  for (const Stop& stop : {Stop{SIGTERM, 143}, Stop{SIGINT, 130}, Stop{SIGHUP, 129}}) {
    CAPTURE(stop.signal);
    const LongRun run;
    RunningProgram program({.arguments = run.arguments});
    wait_until(program, [&] { return !read_file(run.partial).empty(); });
    program.send(stop.signal);
    const Outcome outcome = program.wait();
    CHECK(outcome.status == stop.status);
    CHECK(contains(outcome.err, "stopping"));
    CHECK(contains(outcome.err, "interrupted after "));
    CHECK(contains(outcome.err, "the same command goes on from here"));
    CHECK_FALSE(std::filesystem::exists(run.output));
    CHECK_FALSE(std::filesystem::exists(run.folder / "out.jsonl.lock"));
    std::istringstream lines(read_file(run.partial));
    std::size_t closed = 0;
    for (std::string line; std::getline(lines, line);) {
      if (nlohmann::json::parse(line)["type"] == "input") ++closed;
    }
    CHECK(read_file(run.partial).back() == '\n');
    const nlohmann::json report = nlohmann::json::parse(read_file(run.folder / "out.jsonl.run.json"));
    CHECK(report["interrupted"] == true);
    CHECK(report["counts"]["inputs"] == closed);
    CHECK(report["output"] == run.partial.string());
  }
}

TEST_CASE("e2e: a second signal ends a run at once") {
  const LongRun run;
  RunningProgram program({.arguments = run.arguments});
  wait_until(program, [&] { return !read_file(run.partial).empty(); });
  program.send(SIGINT);
  program.send(SIGTERM);
  const Outcome outcome = program.wait();
  CHECK((outcome.status == 143 || outcome.status == 130));
  CHECK_FALSE(std::filesystem::exists(run.folder / "out.jsonl.lock"));
}

TEST_CASE("e2e: a run whose reader does not read can be stopped all the same") {
  const TempFolder folder;
  const auto graph =
      folder.write("g.yaml", "version: 1\nstages:\n  images: {use: read_images, from: inputs}\n");
  const TempFolder inputs;
  // More lines than a pipe holds.
  for (int i = 0; i < 600; ++i) {
    std::filesystem::create_symlink(kPicture, inputs / (std::string(100, 'x') + std::to_string(1000 + i)));
  }
  const PipeReader reader(folder / "pipe");
  RunningProgram program(
      {.arguments = {"run", graph.string(), (inputs / "").string(), "-q"}, .stdout_path = folder / "pipe"});
  wait_until(program, [&] { return reader.got_something(); });
  program.send(SIGTERM);
  CHECK(program.wait().status == 143);
}

TEST_CASE("e2e: a reader that has had enough ends a run quietly") {
  LongRun run;
  PipeReader reader(run.folder / "pipe");
  run.arguments.back() = "-";
  run.arguments.emplace_back("--progress");
  run.arguments.emplace_back("none");
  RunningProgram program({.arguments = run.arguments, .stdout_path = run.folder / "pipe"});
  wait_until(program, [&] { return reader.got_something(); });
  reader.close_now();
  const Outcome outcome = program.wait();
  CHECK(outcome.status == 5);
  CHECK(outcome.err.empty());
}
