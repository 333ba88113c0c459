#include "pipeline/scheduler.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <random>
#include <thread>

#include "pipeline/ledger_records.h"
#include "stages/write_jsonl.h"
#include "tests/support/catch.h"
#include "tests/support/fake_stages.h"
#include "tests/support/temp_folder.h"

using namespace reelfolio;
using namespace reelfolio::pipeline;
using stages::InputStatus;

namespace {

constexpr const char* kGraph = R"(version: 1
stages:
  caption: {use: caption, from: [frames, pages, images]}
  scenes: {use: split_scenes, from: inputs}
  frames: {use: sample_frames, from: scenes, per_scene: 2}
  many: {use: sample_frames, from: scenes, per_scene: 3}
  pages: {use: render_pages, from: inputs}
  answers: {use: ask, from: [many, pages], questions: {a: "refuse", b: "count"}}
)";

std::vector<ListedInput> listed(const std::vector<std::string>& names) {
  std::vector<ListedInput> inputs;
  for (const std::string& name : names) inputs.push_back({name, name, ""});
  return inputs;
}

struct Outcome {
  RunSummary summary;
  test::RecordingSink sink;
  test::CountingProgress progress;
  test::FakeEngine engine;
};

std::unique_ptr<Outcome> run(const Graph& graph, const std::vector<ListedInput>& inputs,
                             RunOptions options = {}) {
  auto outcome = std::make_unique<Outcome>();
  options.probe = test::fake_probe;
  outcome->summary = run_graph(graph, inputs, &outcome->engine, outcome->sink, outcome->progress,
                               std::stop_token(), options);
  return outcome;
}

std::vector<std::string> mixed_inputs(std::size_t count) {
  const std::vector<std::string> kinds = {"video:4",         "pdf:3",
                                          "image",           "text",
                                          "unknown",         "gone",
                                          "video:5:bad2",    "video:4:blind1",
                                          "pdf:6:truncated", "video:6:breaks3",
                                          "video:0",         "pdf:2:bad0:bad1",
                                          "video:3:big",     "pdf:1:breaks0"};
  std::mt19937 random(3);
  std::vector<std::string> names;
  for (std::size_t i = 0; i < count; ++i)
    names.push_back(kinds[random() % kinds.size()] + ":id=" + std::to_string(i));
  return names;
}

}  // namespace

TEST_CASE("scheduler: units carry results of every stage and the union of their frame times") {
  const Graph graph = test::graph_of(kGraph);
  const auto outcome = run(graph, listed({"video:2"}));
  REQUIRE(outcome->sink.results.size() == 1);
  const stages::InputResult& result = outcome->sink.results[0];
  REQUIRE(result.units.size() == 2);
  CHECK(result.units[0].frame_times_s.size() == 5);  // two of one branch, three of the other
  CHECK(std::is_sorted(result.units[0].frame_times_s.begin(), result.units[0].frame_times_s.end()));
  REQUIRE(result.units[0].results.size() == 2);
  CHECK(result.units[0].results[0].first == "caption");
  CHECK(result.units[0].results[1].first == "answers");
  CHECK(result.units[0].results[1].second[1] == "+++count video:2 0");
  CHECK(outcome->sink.finished);
}

TEST_CASE("scheduler: a refused request costs the stage that made it, not its neighbours") {
  const Graph graph = test::graph_of(kGraph);
  const auto outcome = run(graph, listed({"pdf:2"}));
  const stages::InputResult& result = outcome->sink.results[0];
  // Unit 1 is odd: one of its two questions is refused, its caption is not.
  REQUIRE(result.units.size() == 2);
  CHECK(result.units[0].results.size() == 2);
  REQUIRE(result.units[1].results.size() == 1);
  CHECK(result.units[1].results[0].first == "caption");
  REQUIRE(result.errors.size() == 1);
  CHECK(result.errors[0].stage == "answers");
  CHECK(result.errors[0].unit == result.units[1].unit);
  CHECK(result.errors[0].code == "request.refused");
  CHECK(result.errors[0].message == "the prompt is refused");
  CHECK(result.status == InputStatus::partial);
  // Both stages on a page go to the engine together.
  CHECK(outcome->engine.group_sizes == std::vector<std::size_t>{2, 2});
}

TEST_CASE("scheduler: the status of an input says what became of it") {
  const Graph graph = test::graph_of(kGraph, {"answers.questions={b: count}"});
  const auto status_of = [&](const std::string& name) {
    return run(graph, listed({name}))->sink.results.at(0);
  };

  CHECK(status_of("video:3").status == InputStatus::ok);
  CHECK(status_of("video:0").status == InputStatus::ok);
  const auto skipped = status_of("text");
  CHECK(skipped.status == InputStatus::skipped);
  CHECK(skipped.errors.empty());
  const auto unknown = status_of("unknown");
  CHECK(unknown.status == InputStatus::failed);
  CHECK(unknown.errors.at(0).code == "input.unsupported");
  CHECK(unknown.errors.at(0).stage == "inputs");
  const auto gone = status_of("gone");
  CHECK(gone.status == InputStatus::failed);
  CHECK(gone.errors.at(0).message == "it has vanished");
  const auto bad = status_of("video:3:bad1");
  CHECK(bad.status == InputStatus::partial);
  CHECK(bad.units.size() == 2);
  CHECK(bad.errors.at(0).unit->index == 1);
  const auto all_bad = status_of("pdf:2:bad0:bad1");
  CHECK(all_bad.status == InputStatus::failed);
  CHECK(all_bad.errors.size() == 2);
  const auto blind = status_of("video:2:blind1");
  CHECK(blind.status == InputStatus::partial);
  CHECK(blind.units.size() == 2);  // cut, so it has a line, without results
  CHECK(blind.units[1].results.empty());
  CHECK(blind.errors.size() == 2);
  const auto truncated = status_of("pdf:1:truncated");
  CHECK(truncated.status == InputStatus::partial);
  CHECK(truncated.errors.at(0).unit == nullptr);

  auto missing = listed({"video:1"});
  missing[0].error = "no such file or directory";
  const auto unread = run(graph, missing)->sink.results.at(0);
  CHECK(unread.status == InputStatus::failed);
  CHECK(unread.errors.at(0).code == "input.unreadable");
  CHECK(unread.errors.at(0).message == "no such file or directory");
}

TEST_CASE("scheduler: a worker that breaks down costs its input and not the run") {
  const Graph graph = test::graph_of(kGraph, {"answers.questions={b: count}"});
  const auto outcome = run(graph, listed({"video:3:breaks2", "video:2"}));
  REQUIRE(outcome->sink.results.size() == 2);
  const auto& broken = outcome->sink.results[0];
  CHECK(broken.status == InputStatus::partial);
  CHECK(broken.units.size() == 2);
  REQUIRE(broken.errors.size() == 1);
  CHECK(broken.errors[0].code == "internal.error");
  CHECK(broken.errors[0].stage == "scenes");
  CHECK(broken.errors[0].message == "the decoder broke down");
  CHECK(outcome->sink.results[1].status == InputStatus::ok);
}

TEST_CASE("scheduler: units have lines in a graph without language stages and without an engine") {
  const Graph graph = test::graph_of("version: 1\nstages: {s: {use: split_scenes, from: inputs}}\n");
  test::RecordingSink sink;
  test::CountingProgress progress;
  RunOptions options;
  options.probe = test::fake_probe;
  const RunSummary summary = run_graph(graph, listed({"video:3"}), nullptr, sink, progress, {}, options);
  CHECK(sink.results.at(0).units.size() == 3);
  CHECK(sink.results.at(0).status == InputStatus::ok);
  CHECK(summary.units == 3);
  CHECK(progress.done == 3);
}

TEST_CASE("scheduler: the same bytes for any decoders, queue, window and timing") {
  const auto inputs = listed(mixed_inputs(120));
  const auto reference = run(test::graph_of(kGraph), inputs);
  REQUIRE(reference->sink.results.size() == inputs.size());
  for (std::size_t i = 0; i < inputs.size(); ++i)
    CHECK(reference->sink.results[i].input->name == inputs[i].name);
  const test::RandomDelays delays(2);
  for (const char* limits :
       {"{decoders: 1, queue_bytes: 1}", "{decoders: 2, inputs_in_flight: 1}",
        "{decoders: 4, queue_bytes: 1}", "{decoders: 8, queue_bytes: 1MiB, inputs_in_flight: 3}",
        "{decoders: 16, batch: 1}", "{decoders: 3, batch: 4}", "{decoders: 2, batch: 64}"}) {
    INFO(limits);
    const auto outcome = run(test::graph_of(std::string(kGraph) + "limits: " + limits + "\n"), inputs);
    CHECK(outcome->sink.text == reference->sink.text);
    CHECK_FALSE(outcome->progress.overlapped);
    CHECK(outcome->progress.inputs == inputs.size());
    CHECK(outcome->progress.finishes == 1);
  }
}

TEST_CASE("scheduler: units of many inputs are answered together, within batch and memory") {
  std::vector<std::string> names;
  for (int i = 0; i < 40; ++i) names.push_back("image:1:big:id=" + std::to_string(i));
  const auto most_open = [&](const std::string& limits) {
    const test::RandomDelays delays(1);
    test::FakeEngine engine;
    // The first answer waits until the decoder has filled what room there is.
    std::atomic<int> probed{0};
    engine.on_set = [&](std::size_t set) {
      for (int i = 0; set == 1 && probed < 12 && i < 200; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    };
    test::RecordingSink sink;
    test::CountingProgress progress;
    RunOptions options;
    options.probe = [&](const std::filesystem::path& path, const std::string& name) {
      ++probed;
      return test::fake_probe(path, name);
    };
    run_graph(test::graph_of(std::string(kGraph) + "limits: " + limits + "\n"), listed(names), &engine, sink,
              progress, {}, options);
    CHECK(sink.results.size() == names.size());
    return engine.most_open;
  };
  CHECK(most_open("{batch: 1}") == 1);
  CHECK(most_open("{batch: 4}") == 4);
  // Pictures of 1 MB: two of them are in the queue or being answered at a time.
  CHECK(most_open("{queue_bytes: 2200000}") == 2);
}

TEST_CASE("scheduler: a unit that fails amid others costs them nothing") {
  const Graph graph = test::graph_of(kGraph, {"caption.prompt=refuse", "limits.batch=16"});
  const auto outcome = run(graph, listed({"pdf:6", "video:3", "pdf:2:id=1"}));
  for (const stages::InputResult& result : outcome->sink.results) {
    for (const stages::UnitResult& unit : result.units) {
      // Odd units are refused by both stages, even ones answered by both.
      CHECK(unit.results.size() == (unit.unit->index % 2 == 0 ? 2U : 0U));
    }
    CHECK(result.errors.size() == 2 * (result.units.size() / 2));
  }
}

TEST_CASE("scheduler: counts and costs add up") {
  const Graph graph = test::graph_of(kGraph);
  const auto inputs = listed(mixed_inputs(60));
  const auto outcome = run(graph, inputs);
  const RunSummary& summary = outcome->summary;
  CHECK(summary.inputs == 60);
  CHECK(summary.ok + summary.partial + summary.failed + summary.skipped == 60);
  CHECK_FALSE(summary.interrupted);
  std::size_t units = 0;
  for (const auto& result : outcome->sink.results) units += result.units.size();
  CHECK(summary.units == units);
  CHECK(outcome->progress.found == units);
  CHECK(outcome->progress.announced == 60);
  CHECK(summary.stage_costs.at("inputs").items == 60);
  CHECK(summary.stage_costs.at("caption").prompt_tokens ==
        10 * summary.stage_costs.at("caption").generated_tokens / 2);
}

TEST_CASE("scheduler: a stage is charged for its own time alone") {
  const Graph graph = test::graph_of(
      "version: 1\nstages: {pages: {use: render_pages, from: inputs}, c: {use: caption, from: pages}}\n");
  test::FakeClock clock;
  test::RecordingSink sink;
  test::CountingProgress progress;
  test::FakeEngine engine;
  engine.on_set = [&](std::size_t) { clock.now = clock.now + 5; };
  engine.seconds_a_request = 2;
  RunOptions options;
  options.clock = &clock;
  options.probe = [&](const std::filesystem::path& path, const std::string& name) {
    clock.now = clock.now + 1;
    return test::fake_probe(path, name);
  };
  const RunSummary summary = run_graph(graph, listed({"pdf:1"}), &engine, sink, progress, {}, options);
  CHECK(summary.stage_costs.at("inputs").seconds == Approx(1));
  CHECK(summary.stage_costs.at("c").seconds == Approx(2));
  CHECK(summary.stage_costs.at("c").items == 1);
  CHECK(summary.stage_costs.at("pages").items == 1);
}

TEST_CASE("scheduler: no input is begun beyond the window") {
  const Graph graph = test::graph_of(std::string(kGraph) + "limits: {decoders: 4, inputs_in_flight: 3}\n");
  std::atomic<int> begun{0};
  std::atomic<int> written{0};
  std::atomic<int> widest{0};
  test::RecordingSink sink;
  sink.on_write = [&](std::size_t) { ++written; };
  test::CountingProgress progress;
  test::FakeEngine engine;
  RunOptions options;
  options.probe = [&](const std::filesystem::path& path, const std::string& name) {
    const int ahead = ++begun - written;
    for (int seen = widest; seen < ahead && !widest.compare_exchange_weak(seen, ahead);) {
    }
    return test::fake_probe(path, name);
  };
  run_graph(graph, listed(mixed_inputs(200)), &engine, sink, progress, {}, options);
  CHECK(begun == 200);
  CHECK(widest <= 3);
}

TEST_CASE("scheduler: a stop drops what is in flight and what is written stays whole") {
  const test::RandomDelays delays(1);
  const auto inputs = listed(mixed_inputs(80));
  const auto whole = run(test::graph_of(kGraph), inputs);
  for (std::size_t stop_at : {1U, 7U, 40U}) {
    const Graph graph = test::graph_of(std::string(kGraph) + "limits: {decoders: 3, queue_bytes: 1}\n");
    std::stop_source stop;
    test::RecordingSink sink;
    test::CountingProgress progress;
    test::FakeEngine engine;
    engine.on_set = [&](std::size_t set) {
      if (set == stop_at) stop.request_stop();
    };
    RunOptions options;
    options.probe = test::fake_probe;
    const RunSummary summary = run_graph(graph, inputs, &engine, sink, progress, stop.get_token(), options);
    CHECK(summary.interrupted);
    CHECK_FALSE(sink.finished);
    CHECK(sink.results.size() < inputs.size());
    CHECK(whole->sink.text.compare(0, sink.text.size(), sink.text) == 0);
    // What is left of the group in hand may still be refused.
    CHECK(engine.sets <= stop_at + 1);
  }
}

TEST_CASE("scheduler: a stop asked for beforehand or by the sink ends the run") {
  const Graph graph = test::graph_of(kGraph);
  std::stop_source stop;
  test::RecordingSink sink;
  test::CountingProgress progress;
  test::FakeEngine engine;
  RunOptions options;
  options.probe = test::fake_probe;
  sink.on_write = [&](std::size_t count) {
    if (count == 5) stop.request_stop();
  };
  CHECK(run_graph(graph, listed(mixed_inputs(200)), &engine, sink, progress, stop.get_token(), options)
            .interrupted);
  CHECK(sink.results.size() >= 5);
  sink.results.clear();
  CHECK(
      run_graph(graph, listed({"video:2"}), &engine, sink, progress, stop.get_token(), options).interrupted);
  CHECK(sink.results.empty());
}

TEST_CASE("scheduler: a worker that finds nothing for long learns of a stop, time ticks meanwhile") {
  const Graph graph = test::graph_of(kGraph);
  std::stop_source stop;
  test::RecordingSink sink;
  test::CountingProgress progress;
  progress.on_tick = [&] { stop.request_stop(); };
  test::FakeEngine engine;
  RunOptions options;
  options.probe = test::fake_probe;
  const RunSummary summary = run_graph(graph, listed({"video:2", "video:3:scans1"}), &engine, sink, progress,
                                       stop.get_token(), options);
  CHECK(summary.interrupted);
  CHECK(progress.ticks >= 1);
  CHECK(sink.results.size() == 1);
}

TEST_CASE("scheduler: what is not an input's fault ends the run with its exception") {
  const Graph graph = test::graph_of(std::string(kGraph) + "limits: {decoders: 3, queue_bytes: 1}\n");
  const auto inputs = listed(mixed_inputs(50));
  RunOptions options;
  options.probe = test::fake_probe;
  test::CountingProgress progress;
  SECTION("the engine breaks down") {
    test::RecordingSink sink;
    test::FakeEngine engine;
    engine.fail_at_set = 3;
    CHECK_THROWS_WITH(run_graph(graph, inputs, &engine, sink, progress, {}, options),
                      "the engine broke down");
    CHECK_FALSE(sink.finished);
  }
  SECTION("the sink cannot write") {
    test::RecordingSink sink;
    sink.on_write = [](std::size_t count) {
      if (count == 4) throw std::runtime_error("disk full");
    };
    test::FakeEngine engine;
    CHECK_THROWS_WITH(run_graph(graph, inputs, &engine, sink, progress, {}, options), "disk full");
  }
  SECTION("there is no engine") {
    test::RecordingSink sink;
    CHECK_THROWS_AS(run_graph(graph, inputs, nullptr, sink, progress, {}, options), std::logic_error);
  }
}

namespace {

/// Remembers in memory, through the bytes that a ledger would keep.
struct MemoryHistory : History {
  std::optional<stages::InputFile> unchanged(const ListedInput&) override { return std::nullopt; }
  void record_file(const stages::InputFile&) override {}
  Found find(const stages::InputFile& input) override {
    const std::lock_guard lock(mutex);
    const auto found = results.find(input.sha256);
    if (found == results.end()) return {std::nullopt, "new"};
    return {read_result(found->second, std::make_shared<stages::InputFile>(input)), "done before"};
  }
  std::optional<Decoding> decoding(const stages::InputFile& input) override {
    const std::lock_guard lock(mutex);
    const auto found = decodings.find(input.sha256);
    return found == decodings.end() ? std::nullopt : read_decoding(found->second);
  }
  void record_decoding(const stages::InputFile& input, const Decoding& decoding) override {
    const std::lock_guard lock(mutex);
    decodings[input.sha256] = decoding_record(decoding);
  }
  std::unique_ptr<MediaCache::Reader> media(const stages::InputFile& input) override {
    return cache ? cache->reader(input.sha256) : nullptr;
  }
  std::unique_ptr<MediaCache::Writer> record_media(const stages::InputFile& input) override {
    return cache ? cache->writer(input.sha256) : nullptr;
  }
  std::optional<KnownAnswer> answer(const std::string& key) override {
    const std::lock_guard lock(mutex);
    const auto found = answers.find(key);
    return found == answers.end() ? std::nullopt : read_answer(found->second);
  }
  void record_answer(const std::string& key, const KnownAnswer& answer) override {
    const std::lock_guard lock(mutex);
    answers[key] = answer_record(answer);
  }
  const std::string& model() const override { return model_name; }
  void record(const stages::InputResult& result, const std::vector<std::string>& keys) override {
    rested_on += keys.size();
    const std::lock_guard lock(mutex);
    results[result.input->sha256] = result_record(result);
    ++recorded;
  }
  void flush() override { ++flushes; }

  std::mutex mutex;
  std::map<std::string, std::string> results, decodings, answers;
  std::optional<MediaCache> cache;
  std::string model_name = "model";
  std::size_t recorded = 0, rested_on = 0;
  std::atomic<std::size_t> flushes{0};
};

}  // namespace

TEST_CASE("scheduler: what the history knows is written again without work") {
  MemoryHistory history;
  RunOptions options;
  options.history = &history;
  const Graph graph = test::graph_of(kGraph, {"limits.decoders=2"});
  const auto first = run(graph, listed({"video:2", "pdf:2"}), options);
  CHECK(history.recorded == 2);
  CHECK(history.flushes >= 1);
  const auto second = run(graph, listed({"video:2", "image", "pdf:2"}), options);
  CHECK(history.recorded == 3);
  CHECK(second->summary.reused == 2);
  CHECK(second->engine.group_sizes.size() == 1);
  const auto fresh = run(graph, listed({"video:2", "image", "pdf:2"}));
  CHECK(second->sink.text == fresh->sink.text);
}

TEST_CASE("scheduler: answers and decodings that are known are not made again, and change no byte") {
  const auto inputs = listed(mixed_inputs(60));
  const Graph graph = test::graph_of(kGraph);
  const auto reference = run(graph, inputs);
  MemoryHistory history;
  RunOptions options;
  options.history = &history;
  CHECK(run(graph, inputs, options)->sink.text == reference->sink.text);
  CHECK(history.rested_on >= history.answers.size());

  // All answers known, results forgotten: nothing is asked, refusals included.
  history.results.clear();
  const auto replayed = run(graph, inputs, options);
  CHECK(replayed->sink.text == reference->sink.text);
  CHECK(replayed->engine.sets == 0);
  CHECK(replayed->summary.stage_costs.at("scenes").items == 0);
  CHECK(replayed->summary.stage_costs.at("caption").known_answers > 0);

  // One stage asks another question: the other's answers stay.
  history.results.clear();
  const Graph changed = test::graph_of(kGraph, {"caption.prompt=How many?"});
  const auto asked = run(changed, inputs, options);
  CHECK(asked->sink.text == run(changed, inputs)->sink.text);
  CHECK(asked->sink.text != reference->sink.text);
  CHECK(asked->summary.stage_costs.at("answers").generated_tokens == 0);
  CHECK(asked->summary.stage_costs.at("caption").generated_tokens > 0);

  // Half of the answers lost, as after a kill: the rest is asked.
  history.results.clear();
  for (auto each = history.answers.begin(); each != history.answers.end();) {
    each = history.answers.erase(each);
    if (each != history.answers.end()) ++each;
  }
  CHECK(run(graph, inputs, options)->sink.text == reference->sink.text);

  // A record that is damaged is no reason to fail.
  history.results.clear();
  for (auto& [sha256, record] : history.decodings) record.resize(record.size() / 2);
  for (auto& [key, record] : history.answers) record += "}";
  CHECK(run(graph, inputs, options)->sink.text == reference->sink.text);

  // Another model answers anew.
  history.results.clear();
  history.model_name = "another";
  CHECK(run(graph, inputs, options)->summary.stage_costs.at("answers").known_answers == 0);
}

TEST_CASE("scheduler: changed questions are asked about kept pictures without decoding") {
  const test::TempFolder folder;
  const auto inputs = listed({"video:3:bad1", "pdf:2:big", "image", "video:2:blind1:truncated", "text"});
  const Graph graph = test::graph_of(kGraph, {"limits.decoders=2"});
  const Graph changed = test::graph_of(kGraph, {"limits.decoders=2", "caption.prompt=How many?"});
  const std::string expected = run(changed, inputs)->sink.text;
  const auto decoded = [](const RunSummary& summary) {
    return summary.stage_costs.at("scenes").items + summary.stage_costs.at("pages").items;
  };
  MemoryHistory history;
  history.cache.emplace(folder / "media", MediaCache::Options{.spare_bytes = 0});
  RunOptions options;
  options.history = &history;
  CHECK(decoded(run(graph, inputs, options)->summary) == 3);
  history.results.clear();
  const auto asked = run(changed, inputs, options);
  CHECK(asked->sink.text == expected);
  CHECK(decoded(asked->summary) == 0);
  CHECK(asked->summary.stage_costs.at("caption").generated_tokens > 0);

  // With one entry damaged that input alone is decoded, with none all are.
  const auto forget_captions = [&] {
    history.results.clear();
    history.answers.clear();
  };
  forget_captions();
  std::uintmax_t largest = 0;
  std::filesystem::path entry;
  for (const auto& file : std::filesystem::directory_iterator(folder / "media")) {
    if (file.file_size() > largest) entry = file.path();
    largest = std::max(largest, file.file_size());
  }
  std::fstream(entry, std::ios::binary | std::ios::in | std::ios::out).seekp(-1, std::ios::end).put('x');
  const auto damaged = run(changed, inputs, options);
  CHECK(damaged->sink.text == expected);
  CHECK(decoded(damaged->summary) == 1);
  forget_captions();
  std::filesystem::remove_all(folder / "media");
  const auto deleted = run(changed, inputs, options);
  CHECK(deleted->sink.text == expected);
  CHECK(decoded(deleted->summary) == 3);
}

TEST_CASE("scheduler: a history that cannot be written ends the run with its exception") {
  struct Full : MemoryHistory {
    void flush() override { throw stages::OutputError("no space left", false); }
  };
  Full history;
  RunOptions options;
  options.history = &history;
  CHECK_THROWS_AS(run(test::graph_of(kGraph), listed({"pdf:2"}), options), stages::OutputError);
}

TEST_CASE("scheduler: ten thousand inputs, and none at all") {
  const Graph graph = test::graph_of(std::string(kGraph) + "limits: {decoders: 3}\n");
  std::vector<std::string> names;
  for (int i = 0; i < 10'000; ++i) names.push_back("image:1:id=" + std::to_string(i));
  const auto outcome = run(graph, listed(names));
  CHECK(outcome->summary.ok == 10'000);
  const auto empty = run(graph, {});
  CHECK(empty->summary.inputs == 0);
  CHECK(empty->sink.finished);
  CHECK(empty->progress.finishes == 1);
}
