#include "pipeline/ledger.h"

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>

#include "pipeline/answer_key.h"
#include "pipeline/fingerprints.h"
#include "pipeline/ledger_records.h"
#include "pipeline/ledger_view.h"
#include "pipeline/scheduler.h"
#include "stages/write_jsonl.h"
#include "tests/support/catch.h"
#include "tests/support/fake_stages.h"
#include "tests/support/temp_folder.h"

using namespace reelfolio;
using namespace reelfolio::pipeline;

namespace {

constexpr const char* kLedgerGraph = R"(version: 1
stages:
  scenes: {use: split_scenes, from: inputs}
  frames: {use: sample_frames, from: scenes}
  pages: {use: render_pages, from: inputs}
  caption: {use: caption, from: [frames, pages]}
  answers: {use: ask, from: pages, questions: {a: count}}
)";

Graph build_ledger_graph(const std::vector<std::string>& settings = {}) {
  return test::graph_of(kLedgerGraph, settings);
}

class Runs : public test::TempFolder {
 public:
  std::filesystem::path ledger() const { return *this / "out.jsonl.ledger"; }
};

std::unique_ptr<Ledger> open(const Runs& folder, const Graph& graph, const LedgerOptions& options = {},
                             const std::string& model = "model int8") {
  Ledger::Opened opened = Ledger::open(folder.ledger(), graph, model, options);
  CHECK(opened.warning.empty());
  return std::move(opened.ledger);
}

stages::InputFile file(const std::string& name, const std::string& content = "content") {
  stages::InputFile input;
  input.name = name;
  input.path = name;
  input.size_bytes = content.size();
  input.sha256 = std::string(64, content[0]);
  input.media = stages::MediaKind::pdf;
  return input;
}

stages::InputResult result_of(const stages::InputFile& input, bool failed = false) {
  stages::InputResult result;
  result.input = std::make_shared<stages::InputFile>(input);
  auto unit = std::make_shared<stages::Unit>();
  unit->producer = "pages";
  unit->kind = stages::UnitKind::page;
  unit->start_s = 0.1;
  result.units.push_back({unit, {1.0 / 3, 2.5}, {{"caption", {{"text", "a\"b\xC3\xA9"}}}}});
  if (failed) {
    result.errors.push_back({"pages", unit, "fake.bad", "it is bad"});
    result.status = stages::InputStatus::partial;
  }
  result.results = {{"caption", 3}};
  return result;
}

void write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

std::string read(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

}  // namespace

TEST_CASE("ledger: a result is found again under the same content, stages and model alone") {
  const Runs folder;
  const Graph graph = build_ledger_graph();
  const stages::InputFile input = file("a.pdf");
  {
    const auto ledger = open(folder, graph);
    CHECK(ledger->find(input).reason == "new");
    ledger->record_file(input);
    ledger->record(result_of(input), {});
    ledger->flush();
    CHECK(ledger->find(input).reason == "done before");
  }
  const auto found = open(folder, graph)->find(input);
  REQUIRE(found.result);
  CHECK(stages::jsonl_lines(*found.result) == stages::jsonl_lines(result_of(input)));
  CHECK(open(folder, graph)->find(file("a.pdf", "other")).reason == "its content has changed");
  CHECK(open(folder, graph, {}, "other int8")->find(input).reason == "the model has changed");
  const Graph prompt = build_ledger_graph({"caption.prompt=Else?"});
  CHECK(open(folder, prompt)->find(input).reason == "caption has changed");
  // Scenes are nothing to a PDF.
  const Graph scenes = build_ledger_graph({"scenes.detector=hash"});
  CHECK(open(folder, scenes)->find(input).result);
  const Graph pages = build_ledger_graph({"pages.dpi=80"});
  CHECK(open(folder, pages)->find(input).reason == "pages has changed");
}

TEST_CASE("ledger: what failed is kept until it is asked for") {
  const Runs folder;
  const Graph graph = build_ledger_graph();
  const stages::InputFile input = file("a.pdf");
  {
    const auto ledger = open(folder, graph);
    for (int attempt = 0; attempt < 2; ++attempt) {
      ledger->record_file(input);
      ledger->record(result_of(input, true), {});
    }
    ledger->record_answer("key", {{}, "too long"});
    ledger->flush();
  }
  CHECK(open(folder, graph)->find(input).reason == "failed before; --retry-failed tries again");
  CHECK(open(folder, graph)->find(input).result);
  CHECK(open(folder, graph)->answer("key")->refused == "too long");
  const auto retry = open(folder, graph, {.retry_failed = true});
  CHECK(retry->find(input).reason == "failed before, in 2 attempts; tried again");
  CHECK_FALSE(retry->answer("key"));
}

TEST_CASE("ledger: what was not flushed is not there, and --fresh forgets the rest") {
  const Runs folder;
  const Graph graph = build_ledger_graph();
  {
    const auto ledger = open(folder, graph);
    ledger->record_answer("one", {{}, "no"});
    ledger->flush();
    ledger->record_answer("two", {{}, "no"});
  }
  CHECK(open(folder, graph)->answer("one"));
  CHECK_FALSE(open(folder, graph)->answer("two"));
  CHECK_FALSE(open(folder, graph, {.fresh = true})->answer("one"));
}

TEST_CASE("ledger: a file is hashed once, until it changes") {
  const Runs folder;
  const Graph graph = build_ledger_graph();
  const std::filesystem::path path = folder / "a.pdf";
  write(path, "one");
  ListedInput listed;
  listed.path = path;
  listed.name = path.string();
  stages::InputFile input = file(path.string());
  const auto hash = [&] {
    const auto ledger = open(folder, graph);
    CHECK_FALSE(ledger->unchanged(listed));
    ledger->record_file(input);
    ledger->flush();
  };
  // So soon after the change another write could leave the times as they are.
  hash();
  CHECK_FALSE(open(folder, graph)->unchanged(listed));
  std::this_thread::sleep_for(std::chrono::milliseconds(2100));
  hash();
  const auto known = open(folder, graph)->unchanged(listed);
  REQUIRE(known);
  CHECK(known->sha256 == input.sha256);
  CHECK(known->media == input.media);
  // The same size and modification time do not hide a change.
  const auto time = std::filesystem::last_write_time(path);
  write(path, "two");
  std::filesystem::last_write_time(path, time);
  CHECK_FALSE(open(folder, graph)->unchanged(listed));
}

TEST_CASE("ledger: what is no ledger is left alone, what is damaged is put aside") {
  const Runs folder;
  const Graph graph = build_ledger_graph();
  const auto open_it = [&](const LedgerOptions& options = {}) {
    return Ledger::open(folder.ledger(), graph, "model", options);
  };
  write(folder.ledger(), "my notes");
  CHECK_THROWS_AS(open_it(), stages::OutputError);
  CHECK_THROWS_AS(open_it({.fresh = true}), stages::OutputError);
  CHECK(read(folder.ledger()) == "my notes");
  std::filesystem::remove(folder.ledger());
  std::filesystem::create_directory(folder.ledger());
  CHECK_THROWS_AS(open_it(), stages::OutputError);
  std::filesystem::remove(folder.ledger());

  // Killed before anything was written.
  write(folder.ledger(), "");
  CHECK(open_it().warning.empty());

  std::string good = read(folder.ledger());
  std::size_t put_aside = 0;
  for (std::size_t at = 100; at < good.size(); at += 61) {
    std::string bad = good;
    for (std::size_t i = at; i < std::min(at + 40, bad.size()); ++i)
      bad[i] = static_cast<char>(bad[i] ^ 0x5A);
    write(folder.ledger(), bad);
    // Refused with a reason, put aside, or harmless: never a crash.
    try {
      const auto opened = open_it();
      CHECK_FALSE(opened.ledger->answer("key"));
      put_aside += opened.warning.empty() ? 0U : 1U;
    } catch (const stages::OutputError& error) {
      CHECK(std::string(error.what()).find("out.jsonl.ledger: ") != std::string::npos);
    }
    std::filesystem::remove(folder.ledger());
  }
  CHECK(put_aside > 10);
  write(folder.ledger(), good.substr(0, good.size() / 2));
  CHECK(open_it().warning.find("out.jsonl.ledger.damaged") != std::string::npos);
  CHECK(std::filesystem::exists(folder.ledger().string() + ".damaged"));
}

TEST_CASE("ledger: a flipped bit anywhere is noticed, whatever it was part of") {
  const Runs folder;
  const Graph graph = build_ledger_graph();
  const stages::InputFile input = file("a.pdf");
  const std::string key(32, 'k');
  Decoding decoding;
  decoding.events.resize(1);
  decoding.events[0].message.kind = stages::Message::Kind::failed;
  decoding.events[0].message.code = "fake.bad";
  decoding.events[0].message.text = "it is bad";
  engine::Answer answer;
  answer.text = "an answer";
  {
    const auto ledger = open(folder, graph);
    ledger->record_file(input);
    ledger->record(result_of(input), {key});
    ledger->record_decoding(input, decoding);
    ledger->record_answer(key, {answer, std::nullopt});
    ledger->flush();
  }
  const std::string good = read(folder.ledger());
  const std::string lines = stages::jsonl_lines(result_of(input));
  std::size_t noticed = 0;
  std::string bad = good;
  for (std::size_t at = 0; at < good.size(); ++at) {
    // Pages are mostly empty.
    if (good[at] == 0 && at % 64 != 0) continue;
    bad[at] = static_cast<char>(bad[at] ^ (1 << (at % 8)));
    write(folder.ledger(), bad);
    bad[at] = good[at];
    CAPTURE(at);
    try {
      const auto opened = Ledger::open(folder.ledger(), graph, "model int8", {.read_only = true});
      if (!opened.ledger) {
        ++noticed;
        continue;
      }
      const auto found = opened.ledger->find(input);
      const auto known = opened.ledger->answer(key);
      const auto events = opened.ledger->decoding(input);
      if (found.result) CHECK(stages::jsonl_lines(*found.result) == lines);
      if (known) CHECK(known->answer.text == answer.text);
      if (events) CHECK(decoding_record(*events) == decoding_record(decoding));
      noticed += found.result && known && events ? 0U : 1U;
    } catch (const stages::OutputError&) {
      ++noticed;
    }
  }
  CHECK(noticed > 500);
}

TEST_CASE("ledger: a record that is damaged is replaced by what is done again") {
  const Runs folder;
  const Graph graph = build_ledger_graph();
  const stages::InputFile input = file("a.pdf");
  {
    const auto ledger = open(folder, graph);
    ledger->record_file(input);
    ledger->record(result_of(input), {});
    ledger->flush();
  }
  std::string bytes = read(folder.ledger());
  const std::size_t at = bytes.find("\"caption\"");
  REQUIRE(at != std::string::npos);
  bytes[at + 1] = 'C';
  write(folder.ledger(), bytes);
  const auto ledger = open(folder, graph);
  CHECK(ledger->find(input).reason == "its record is damaged");
  ledger->record_file(input);
  ledger->record(result_of(input), {});
  ledger->flush();
  CHECK(ledger->find(input).reason == "done before");
}

TEST_CASE("ledger: what no run has needed for ninety days is forgotten") {
  const Runs folder;
  const Graph graph = build_ledger_graph();
  const std::string used(32, 'u'), unused(32, 'n');
  {
    const auto ledger = open(folder, graph, {.day = 1000});
    for (const char* name : {"a.pdf", "gone.pdf"}) {
      ledger->record_file(file(name));
      ledger->record_decoding(file(name), {});
      ledger->record(result_of(file(name)), {used});
    }
    ledger->record_answer(used, {{}, "no"});
    ledger->record_answer(unused, {{}, "no"});
    ledger->flush();
  }
  for (const std::int64_t day : {1060, 1089, 1090}) {
    const auto ledger = open(folder, graph, {.day = day});
    CHECK(ledger->find(file("a.pdf")).result);
    ledger->flush();
  }
  {
    const auto ledger = open(folder, graph, {.read_only = true, .day = 1090});
    CHECK(ledger->find(file("gone.pdf")).result);
    CHECK(ledger->answer(unused));
  }
  const auto ledger = open(folder, graph, {.day = 1091});
  CHECK(ledger->find(file("a.pdf")).result);
  CHECK(ledger->decoding(file("a.pdf")));
  CHECK(ledger->answer(used));
  CHECK(ledger->find(file("gone.pdf")).reason == "new");
  CHECK_FALSE(ledger->decoding(file("gone.pdf")));
  CHECK_FALSE(ledger->answer(unused));
}

TEST_CASE("ledger: looking at it writes nothing, and sees what a killed run has left in the log") {
  const Runs folder;
  const Graph graph = build_ledger_graph();
  const LedgerOptions look{.read_only = true};
  CHECK_FALSE(Ledger::open(folder.ledger(), graph, "model int8", look).ledger);
  CHECK(std::filesystem::is_empty(folder.path()));
  const stages::InputFile input = file("a.pdf");
  const auto ledger = open(folder, graph);
  ledger->record_file(input);
  ledger->record(result_of(input), {});
  ledger->flush();
  // As a kill would leave it: the log is not in the database yet.
  const Runs killed;
  for (const char* suffix : {"", "-wal"}) {
    std::filesystem::copy_file(folder.ledger().string() + suffix, killed.ledger().string() + suffix);
  }
  const std::string database = read(killed.ledger());
  const std::string log = read(killed.ledger().string() + "-wal");
  CHECK_FALSE(log.empty());
  CHECK(open(killed, graph, look)->find(input).result);
  CHECK(read(killed.ledger()) == database);
  CHECK(read(killed.ledger().string() + "-wal") == log);
  open(killed, graph);  // takes the log in
  std::filesystem::rename(killed.ledger(), killed / "a?b%23#c.ledger");
  const auto odd = Ledger::open(killed / "a?b%23#c.ledger", graph, "model int8", look);
  REQUIRE(odd.ledger);
  CHECK(odd.ledger->find(input).result);
  write(killed.ledger(), std::string(5000, 'x'));
  CHECK_THROWS_AS(Ledger::open(killed.ledger(), graph, "model int8", look), stages::OutputError);
}

TEST_CASE("ledger: a look that cannot copy what a killed run has left leaves no folder behind") {
  const test::TempFolder folder;
  const test::TempFolder temporary;
  folder.write("a.ledger-wal", "a log without its database");
  const char* before = std::getenv("TMPDIR");
  const std::string kept = before == nullptr ? "" : before;
  ::setenv("TMPDIR", temporary.path().c_str(), 1);
  CHECK_THROWS_AS(LedgerView(folder / "a.ledger"), sqlite::Error);
  if (before == nullptr) {
    ::unsetenv("TMPDIR");
  } else {
    ::setenv("TMPDIR", kept.c_str(), 1);
  }
  CHECK(std::filesystem::is_empty(temporary.path()));
}

TEST_CASE("ledger: a later version is refused with a way out") {
  const Runs folder;
  const Graph graph = build_ledger_graph();
  open(folder, graph);
  std::string bytes = read(folder.ledger());
  bytes[63] = 9;  // user_version, big-endian at 60
  write(folder.ledger(), bytes);
  std::string refusal;
  try {
    open(folder, graph);
  } catch (const std::exception& error) {
    refusal = error.what();
  }
  CHECK(refusal.find("later version") != std::string::npos);
  CHECK(open(folder, graph, {.fresh = true}));
}

TEST_CASE("ledger: a run, a kill's worth of it, and another run come to the same output") {
  std::vector<ListedInput> inputs;
  for (int i = 0; i < 30; ++i) {
    const std::string name = (i % 3 == 0 ? "video:3:bad1:id=" : "pdf:2:id=") + std::to_string(i);
    ListedInput input;
    input.name = name;
    input.path = name;
    inputs.push_back(input);
  }
  const Runs folder;
  const Graph graph = build_ledger_graph();
  const auto run = [&](History* history, std::size_t stop_at) {
    std::stop_source stop;
    test::RecordingSink sink;
    test::CountingProgress progress;
    test::FakeEngine engine;
    engine.on_set = [&](std::size_t set) {
      if (set == stop_at) stop.request_stop();
    };
    RunOptions options;
    options.probe = test::fake_probe;
    options.history = history;
    run_graph(graph, inputs, &engine, sink, progress, stop.get_token(), options);
    return std::pair(sink.text, engine.sets);
  };
  const auto [reference, all_sets] = run(nullptr, 0);
  std::size_t asked = 0;
  std::string last;
  for (std::size_t stop_at : {5, 9, 1, 20, 0}) {
    const auto [text, sets] = run(open(folder, graph).get(), stop_at);
    CHECK(reference.compare(0, text.size(), text) == 0);
    asked += sets;
    last = text;
  }
  CHECK(last == reference);
  // Answers of units in flight count too: nothing but what a stop cut off was asked twice.
  CHECK(asked <= all_sets + 4);
}

TEST_CASE("answer key: covers the request, the pictures and the model, and nothing else") {
  const auto picture = [](std::uint8_t value) {
    auto image = std::make_shared<engine::RgbImage>();
    image->width = image->height = 1;
    image->pixels = {value, 0, 0};
    return image;
  };
  engine::Request request;
  request.messages = {{engine::Role::user, {engine::ImagePart{picture(1), 70}, engine::TextPart{"what?"}}}};
  const auto key = [](const engine::Request& each, const std::string& model = "m") {
    MediaHashes media;
    return answer_key(model, each, "", media);
  };
  const std::string base = key(request);
  engine::Request same = request;
  std::get<engine::ImagePart>(same.messages[0].parts[0]).image = picture(1);
  same.sampling.seed = 5;  // a greedy answer draws nothing
  CHECK(key(same) == base);
  std::vector<engine::Request> others(8, request);
  std::get<engine::ImagePart>(others[0].messages[0].parts[0]).image = picture(2);
  std::get<engine::ImagePart>(others[1].messages[0].parts[0]).soft_tokens = 140;
  std::get<engine::TextPart>(others[2].messages[0].parts[1]).text = "what ?";
  others[3].max_tokens = 9;
  others[4].thinking = true;
  others[5].sampling.temperature = 1;
  others[6].stop = {"."};
  others[7].messages[0].role = engine::Role::system;
  for (const engine::Request& other : others) CHECK(key(other) != base);
  CHECK(key(request, "n") != base);
  others[5].sampling.seed = 1;
  engine::Request seeded = others[5];
  seeded.sampling.seed = 2;
  CHECK(key(seeded) != key(others[5]));
}

TEST_CASE("fingerprints: a stage's changes with it, inputs reach the stages that take them") {
  const auto base = stage_fingerprints(build_ledger_graph());
  const auto below = stage_fingerprints(build_ledger_graph({"frames.per_scene=4"}));
  // scenes, frames, pages, caption, answers
  CHECK(below[0] == base[0]);
  CHECK(below[1] != base[1]);
  CHECK(below[2] == base[2]);
  CHECK(below[3] == base[3]);
  CHECK(below[4] == base[4]);
  CHECK(reached_stages(build_ledger_graph(), stages::MediaKind::pdf) == std::vector<int>{2, 3, 4});
  CHECK(reached_stages(build_ledger_graph(), stages::MediaKind::audio).empty());
}
