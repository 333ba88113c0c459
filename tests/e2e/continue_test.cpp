#include <algorithm>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/e2e/kills.h"
#include "tests/e2e/program.h"
#include "tests/e2e/small_inputs.h"
#include "tests/support/catch.h"

using namespace reelfolio::test;

namespace {

constexpr const char* kMixedGraph =
    "version: 1\n"
    "stages:\n"
    "  pages: {use: render_pages, from: inputs, dpi: 30, soft_tokens: 70}\n"
    "  images: {use: read_images, from: inputs, soft_tokens: 70}\n"
    "  caption: {use: caption, from: [pages, images], max_tokens: 5}\n"
    "  answers: {use: ask, from: images, max_tokens: 3, questions: {a: \"What?\", b: \"Why?\"}}\n";
constexpr const char* kNoModel =
    "version: 1\n"
    "stages:\n"
    "  pages: {use: render_pages, from: inputs, dpi: 30}\n"
    "  images: {use: read_images, from: inputs}\n";

struct Place {
  explicit Place(const char* yaml) : graph(folder.write("g.yaml", yaml)) {}

  Outcome run(std::vector<std::string> more = {}, const std::string& to = "") const {
    std::vector<std::string> arguments = {"run", graph.string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    for (const std::string& each :
         {(inputs / "").string(), std::string("-q"), std::string("--threads=1"), std::string("--weights=f32"),
          "--model=" + kModel, std::string("-o"), to.empty() ? output.string() : to}) {
      arguments.push_back(each);
    }
    return run_program({.arguments = arguments, .variables = {{"OMP_WAIT_POLICY", "passive"}}});
  }
  nlohmann::json report() const { return nlohmann::json::parse(read_file(output.string() + ".run.json")); }
  nlohmann::json stage(const std::string& name) const { return report()["stages"][name]; }
  std::string text() const { return read_file(output); }

  TempFolder folder;
  TempFolder inputs;
  std::filesystem::path graph;
  std::filesystem::path output = folder / "out.jsonl";
};

void write_inputs(const TempFolder& folder, int count) {
  for (int i = 0; i < count; ++i) {
    folder.write(std::to_string(100 + i) + (i % 2 == 0 ? ".ppm" : ".pdf"),
                 i % 2 == 0 ? picture(i) : document(i, 2));
  }
}

std::size_t count_of(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

/// Of what --explain says on stderr: the inputs that were not remembered.
std::size_t inputs_worked_on(const std::string& explained) {
  return count_of(explained, ", no error (") - count_of(explained, ", no error (done before)");
}

}  // namespace

TEST_CASE("e2e: a second run does nothing, and a prompt that changes asks its own questions alone") {
  const Place place(kMixedGraph);
  write_inputs(place.inputs, 6);
  REQUIRE(place.run().status == 0);
  const std::string first = place.text();
  const auto written = std::filesystem::last_write_time(place.output);
  // Asked is told by prompts: a model may answer with nothing.
  const auto asked = place.stage("caption")["prompt_tokens"].get<int>();
  CHECK(asked > 0);

  CHECK(place.run().status == 0);
  CHECK(place.report()["counts"]["reused"] == 6);
  CHECK(place.report()["engine"]["prefill_tokens"] == 0);
  CHECK(place.text() == first);
  CHECK(std::filesystem::last_write_time(place.output) == written);

  // What was deleted is written again, without the model.
  std::filesystem::remove(place.output);
  CHECK(place.run({"--explain"}).status == 0);
  CHECK(place.text() == first);
  CHECK(place.report()["engine"]["prefill_tokens"] == 0);

  const Outcome changed = place.run({"--explain", "--set", "caption.prompt=What do you see?"});
  CHECK(changed.status == 0);
  CHECK(contains(changed.err, "caption has changed"));
  CHECK(place.stage("caption")["prompt_tokens"] > 0);
  CHECK(place.stage("answers")["prompt_tokens"] == 0);
  CHECK(place.stage("answers")["known_answers"] == 6);
  CHECK(place.text() == place.run({"--set", "caption.prompt=What do you see?"}, "-").out);

  // The old answers are still known.
  CHECK(place.run().status == 0);
  CHECK(place.text() == first);
  CHECK(place.report()["engine"]["prefill_tokens"] == 0);

  CHECK(place.run({"--fresh"}).status == 0);
  CHECK(place.text() == first);
  CHECK(place.stage("caption")["prompt_tokens"] == asked);
}

TEST_CASE("e2e: a changed prompt decodes nothing, with the cache damaged or deleted it decodes again") {
  const Place place(kMixedGraph);
  write_inputs(place.inputs, 6);
  const std::filesystem::path media = place.output.string() + ".media";
  REQUIRE(place.run().status == 0);
  CHECK(place.stage("images")["items"] == 3);
  const auto ask = [&](const std::string& prompt) {
    const std::string setting = "caption.prompt=" + prompt;
    CHECK(place.run({"--set", setting}).status == 0);
    CHECK(place.stage("caption")["prompt_tokens"] > 0);
    CHECK(place.text() == place.run({"--set", setting}, "-").out);
    return place.stage("images")["items"].get<int>() + place.stage("pages")["items"].get<int>();
  };
  CHECK(ask("One?") == 0);
  for (const auto& entry : std::filesystem::directory_iterator(media)) {
    std::filesystem::resize_file(entry.path(), entry.file_size() - 1);
  }
  CHECK(ask("Two?") == 6);
  std::filesystem::remove_all(media);
  CHECK(ask("Three?") == 6);
  CHECK(ask("Four?") == 0);
  CHECK(place.run({"--set", "limits.media_cache=0"}).status == 0);
  CHECK_FALSE(std::filesystem::exists(media));
}

TEST_CASE("e2e: --dry-run tells what is done and what would be, and writes nothing") {
  const Place place(kMixedGraph);
  write_inputs(place.inputs, 2);
  REQUIRE(place.run().status == 0);
  place.inputs.write("200.ppm", picture(200));
  const auto contents = [&] {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(place.folder.path())) {
      if (entry.is_regular_file()) files[entry.path().string()] = read_file(entry.path());
    }
    return files;
  };
  const auto files = contents();
  const Outcome plan = place.run({"--dry-run"});
  CHECK(plan.status == 0);
  CHECK(contains(plan.out, "100.ppm: image, done before\n"));
  CHECK(contains(plan.out, "101.pdf: pdf, done before\n"));
  CHECK(contains(plan.out, "200.ppm: image, goes to images (new)\n"));
  const Outcome changed = place.run({"--dry-run", "--set", "answers.max_tokens=2"});
  CHECK(
      contains(changed.out, "100.ppm: image, goes to images (answers has changed; it came apart before)\n"));
  CHECK(contains(changed.out, "101.pdf: pdf, done before\n"));
  CHECK(contains(place.run({"--dry-run", "--fresh"}).out, "100.ppm: image, goes to images\n"));
  CHECK(contents() == files);
  // How keys and values are kept enters the answers' keys, in plans as in runs.
  REQUIRE(place.run({"--kv-cache=int8"}).status == 0);
  CHECK(contains(place.run({"--kv-cache=int8", "--dry-run"}).out, "100.ppm: image, done before\n"));
}

TEST_CASE("e2e: a flipped bit in the ledger changes no byte of the output") {
  const Place place(kNoModel);
  write_inputs(place.inputs, 6);
  REQUIRE(place.run().status == 0);
  const std::string expected = place.text();
  const std::string ledger = place.output.string() + ".ledger";
  const std::string good = read_file(ledger);
  std::mt19937 random(3);
  for (int flip = 0; flip < 12; ++flip) {
    std::string bad = good;
    // Not among the empty parts of pages.
    std::size_t at = 0;
    while (bad[at] == 0 || at < 100) at = random() % bad.size();
    bad[at] = static_cast<char>(bad[at] ^ (1 << (random() % 8)));
    std::ofstream(ledger, std::ios::binary) << bad;
    std::filesystem::remove(place.output);
    CAPTURE(at);
    CHECK(place.run().status == 0);
    CHECK(place.text() == expected);
  }
}

TEST_CASE("e2e: what failed is tried again when asked for, what is new and changed without") {
  const Place place(kNoModel);
  place.inputs.write("a.ppm", picture(1));
  place.inputs.write("b.pdf", "%PDF-1.4\nnothing more");
  CHECK(place.run().status == 3);
  CHECK(place.run().status == 3);
  CHECK(place.report()["counts"]["reused"] == 2);
  const Outcome retry = place.run({"--retry-failed", "--explain"});
  CHECK(retry.status == 3);
  CHECK(place.report()["counts"]["reused"] == 1);
  CHECK(contains(retry.err, "failed before, in 1 attempt; tried again"));
  place.inputs.write("b.pdf", document(1, 1));
  place.inputs.write("c.ppm", picture(2));
  const Outcome changed = place.run({"--explain"});
  CHECK(changed.status == 0);
  CHECK(contains(changed.err, "its content has changed"));
  CHECK(contains(changed.err, "(new)"));
  CHECK(place.report()["counts"]["reused"] == 1);
  // What has gone has no lines; when it comes back it is known.
  std::filesystem::remove(place.inputs / "a.ppm");
  CHECK(place.run().status == 0);
  CHECK_FALSE(contains(place.text(), "a.ppm"));
  place.inputs.write("a.ppm", picture(1));
  CHECK(place.run().status == 0);
  CHECK(place.report()["counts"]["reused"] == 3);
}

TEST_CASE("e2e: runs that are killed at random moments come to the bytes of one that is not") {
  const KillReport report = kill_runs(8, std::random_device()());
  CAPTURE(report.kills, report.finished, report.kept_inputs);
  CHECK(report.failure.empty());
  CHECK(report.finished >= 1);
}

TEST_CASE("e2e: 24 nights of cron with files added, changed and removed, and runs that overlap") {
  const Place place(kNoModel);
  std::mt19937 random(7);
  std::vector<std::string> present;
  std::size_t worked_on = 0;
  std::size_t expected = 0;
  for (int night = 0; night < 24; ++night) {
    for (int i = 0; i < 2; ++i) {
      const std::string name = std::to_string(1000 + 10 * night + i) + ".ppm";
      place.inputs.write(name, picture(night + 30 * i));
      present.push_back(name);
      ++expected;
    }
    if (night % 3 == 1) {
      const std::size_t changed = random() % (present.size() - 2);
      place.inputs.write(present[changed], picture(night) + "changed");
      ++expected;
    }
    if (night % 4 == 2) {
      const std::size_t removed = random() % (present.size() - 2);
      std::filesystem::remove(place.inputs / present[removed]);
      present.erase(present.begin() + static_cast<std::ptrdiff_t>(removed));
    }
    if (night % 6 == 5) {
      // Two at once: one does the work, the other finds the lock or nothing to do.
      const std::vector<std::string> arguments = {
          "run", place.graph.string(), (place.inputs / "").string(), "--explain",
          "-o",  place.output.string()};
      RunningProgram one({.arguments = arguments});
      RunningProgram two({.arguments = arguments});
      const Outcome first = one.wait();
      const Outcome second = two.wait();
      CHECK(((first.status == 0 && second.status == 11) || (first.status == 11 && second.status == 0) ||
             (first.status == 0 && second.status == 0)));
      // The later of two reports replaces the earlier one: what each did is told by itself.
      worked_on += inputs_worked_on(first.err) + inputs_worked_on(second.err);
    } else {
      CHECK(place.run().status == 0);
      worked_on += present.size() - place.report()["counts"]["reused"].get<std::size_t>();
    }
    const auto lines = json_lines(place.text());
    CHECK(std::count_if(lines.begin(), lines.end(), [](const auto& line) {
            return line["type"] == "input";
          }) == static_cast<std::ptrdiff_t>(present.size()));
  }
  CHECK(worked_on == expected);
  CHECK(place.text() == place.run({}, "-").out);
}

TEST_CASE("e2e: shards merge to the bytes of one run, in whatever order, diff finds none and some") {
  const Place place(kNoModel);
  write_inputs(place.inputs, 20);
  place.inputs.write("zz.pdf", "%PDF-1.4\nnothing more");
  // Arguments whose order is not that of names.
  const std::vector<std::string> order = {(place.inputs / "zz.pdf").string(),
                                          (place.inputs / "105.pdf").string()};
  CHECK(place.run(order).status == 3);
  const std::string whole = place.text();
  std::vector<std::string> merge = {"merge"};
  std::size_t lines = 0;
  for (const char* shard : {"3/3", "1/3", "2/3"}) {
    const std::string path = (place.folder / (std::string("part") + shard[0] + ".jsonl")).string();
    std::vector<std::string> more = order;
    more.insert(more.end(), {"--shard", shard});
    const int status = place.run(more, path).status;
    CHECK((status == 0 || status == 3));
    lines += json_lines(read_file(path)).size();
    merge.push_back(path);
  }
  CHECK(lines == json_lines(whole).size());
  merge.insert(merge.end(), {"-o", "-"});
  const Outcome merged = run_program({.arguments = merge});
  CHECK(merged.status == 0);
  CHECK(merged.out == whole);
  const std::string file = place.folder.write("merged.jsonl", "old").string();
  merge.back() = file;
  CHECK(run_program({.arguments = merge}).status == 0);
  CHECK(read_file(file) == whole);
  // A shard that is missing, twice, or cut off.
  std::vector<std::string> two(merge.begin(), merge.end() - 3);
  two.insert(two.end(), {"-o", file});
  CHECK(run_program({.arguments = two}).status == 2);
  two[2] = two[1];
  CHECK(run_program({.arguments = two}).status == 2);
  const std::string cut = place.folder.write("cut.jsonl", whole.substr(0, whole.size() - 5)).string();
  CHECK(run_program({.arguments = {"merge", cut, "-o", "-"}}).status == 2);

  CHECK(run_program({.arguments = {"diff", place.output.string(), file}}).status == 0);
  std::string other = whole;
  other.replace(other.find("\"width_px\":"), 11, "\"width_px\":9");
  const std::string changed = place.folder.write("other.jsonl", other).string();
  const Outcome differs = run_program({.arguments = {"diff", place.output.string(), changed}});
  CHECK(differs.status == 3);
  CHECK(contains(differs.out, "unit.width_px: "));
  const std::string none = place.folder.write("none.jsonl", "").string();
  const Outcome gone = run_program({.arguments = {"diff", place.output.string(), none}});
  CHECK(gone.status == 3);
  CHECK(contains(gone.out, "zz.pdf: an input -> nothing"));
  CHECK(run_program({.arguments = {"diff", cut, file}}).status == 2);
}

TEST_CASE("e2e: the same bytes for any batch, and a ledger that is no ledger is left alone") {
  const Place place(kMixedGraph);
  write_inputs(place.inputs, 8);
  const std::string one = place.run({"--set", "limits.batch=1"}, "-").out;
  CHECK_FALSE(one.empty());
  CHECK(place.run({"--set", "limits.batch=4", "--decoders", "4"}, "-").out == one);
  CHECK(place.run({"--set", "limits.batch=16"}, "-").out == one);
  place.folder.write("out.jsonl.ledger", "my notes");
  const Outcome refused = place.run();
  CHECK(refused.status == 5);
  CHECK(contains(refused.err, "out.jsonl.ledger: is no ledger"));
  CHECK(read_file(place.folder / "out.jsonl.ledger") == "my notes");
  CHECK_FALSE(std::filesystem::exists(place.output));
  CHECK(run_program({.arguments = {"run", place.graph.string(), (place.inputs / "").string(), "--model",
                                   kModel, "-q", "-o", "/dev/full"}})
            .status == 5);
}
