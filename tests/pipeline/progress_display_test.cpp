#include "pipeline/progress_display.h"

#include <algorithm>
#include <sstream>

#include "pipeline/display_text.h"
#include "tests/support/catch.h"
#include "tests/support/fake_stages.h"

using namespace reelfolio;
using namespace reelfolio::pipeline;

namespace {

stages::InputResult result_of(const std::string& name, std::size_t errors = 0) {
  auto input = std::make_shared<stages::InputFile>();
  input->name = name;
  stages::InputResult result;
  result.input = input;
  for (std::size_t i = 0; i < errors; ++i) {
    auto page = std::make_shared<stages::Unit>();
    page->kind = stages::UnitKind::page;
    page->number = static_cast<int>(i) + 1;
    result.errors.push_back({"pages", i == 0 ? nullptr : page, "pdf.bad", "line\nbreak"});
  }
  if (errors > 0) result.status = stages::InputStatus::failed;
  return result;
}

engine::EngineStats tokens(std::uint64_t count, double seconds) {
  engine::EngineStats stats;
  stats.decode_tokens = count;
  stats.decode_s = seconds;
  return stats;
}

/// Two inputs, one of them failing, twenty seconds apart.
std::string show(ProgressMode mode, bool quiet, const TerminalInfo& terminal) {
  std::ostringstream out;
  test::FakeClock clock;
  const auto progress = make_progress(mode, quiet, out, terminal, clock);
  progress->run_started(2);
  progress->input_started("in/a.mp4");
  progress->unit_found();
  clock.now = clock.now + 20;
  progress->unit_done(tokens(50, 10));
  progress->input_done(result_of("in/a.mp4"));
  progress->input_started("in/b.pdf");
  clock.now = clock.now + 20;
  progress->input_done(result_of("in/b.pdf", 2));
  progress->run_finished();
  return out.str();
}

}  // namespace

TEST_CASE("progress: plain lines, errors as they happen, the summary last") {
  const std::string expected =
      "1/2 inputs, 1 unit, 5.0 tokens/s, 20 s left: in/a.mp4\n"
      "in/b.pdf: pdf.bad: line\\nbreak\n"
      "in/b.pdf, page 2: pdf.bad: line\\nbreak\n"
      "2/2 inputs, 1 unit, 5.0 tokens/s: in/b.pdf\n"
      "2 inputs: 1 ok, 1 failed; 1 unit in 40 s\n";
  CHECK(show(ProgressMode::plain, false, {}) == expected);
  CHECK(show(ProgressMode::automatic, false, {}) == expected);
}

TEST_CASE("progress: plain lines are ten seconds apart") {
  std::ostringstream out;
  test::FakeClock clock;
  const auto progress = make_progress(ProgressMode::plain, false, out, {}, clock);
  progress->run_started(1000);
  for (int i = 0; i < 1000; ++i) {
    clock.now = clock.now + 0.1;
    progress->input_done(result_of("x"));
  }
  const std::string text = out.str();
  const auto lines = std::count(text.begin(), text.end(), '\n');
  CHECK(lines >= 9);
  CHECK(lines <= 11);
}

TEST_CASE("progress: none keeps errors and summary, quiet keeps errors") {
  CHECK(show(ProgressMode::none, false, {}) ==
        "in/b.pdf: pdf.bad: line\\nbreak\nin/b.pdf, page 2: pdf.bad: line\\nbreak\n"
        "2 inputs: 1 ok, 1 failed; 1 unit in 40 s\n");
  const std::string errors = "in/b.pdf: pdf.bad: line\\nbreak\nin/b.pdf, page 2: pdf.bad: line\\nbreak\n";
  CHECK(show(ProgressMode::plain, true, {}) == errors);
  CHECK(show(ProgressMode::automatic, true, {true, false, 80}) == errors);
}

TEST_CASE("progress: JSON lines parse, and the summary is the last") {
  std::istringstream lines(show(ProgressMode::json, false, {}));
  std::vector<stages::Json> all;
  for (std::string line; std::getline(lines, line);) all.push_back(stages::Json::parse(line));
  REQUIRE(all.size() >= 4);
  CHECK(all.front()["type"] == "progress");
  CHECK(all.front()["inputs"] == 2);
  CHECK(all.back()["type"] == "summary");
  CHECK(all.back()["failed"] == 1);
  CHECK(all.back()["interrupted"] == false);
  const auto error =
      std::find_if(all.begin(), all.end(), [](const auto& line) { return line["type"] == "error"; });
  REQUIRE(error != all.end());
  CHECK((*error)["code"] == "pdf.bad");
  CHECK((*error)["message"] == "line\nbreak");
}

TEST_CASE("progress: on a terminal one line is written over and removed at the end") {
  const std::string text = show(ProgressMode::automatic, false, {true, true, 60});
  CHECK(text.find("\r0/2 inputs, 0 units\x1b[K") == 0);
  CHECK(text.find("\r0/2 inputs, 1 unit, 5.0 tokens/s  in/a.mp4\x1b[K") != std::string::npos);
  // The line is cleared before an error is written, and before the summary.
  CHECK(text.find("\r\x1b[Kin/b.pdf: \x1b[31mpdf.bad\x1b[0m: line") != std::string::npos);
  CHECK(text.find("\r\x1b[K2 inputs: 1 ok, 1 failed; 1 unit in 40 s\n") != std::string::npos);
  CHECK(text.back() == '\n');
  CHECK(show(ProgressMode::automatic, false, {true, false, 60}).find("\x1b[31m") == std::string::npos);
}

TEST_CASE("progress: a line left when the run ends by an exception is removed") {
  std::ostringstream out;
  {
    const auto progress = make_progress(ProgressMode::automatic, false, out, {true, false, 80});
    progress->run_started(3);
  }
  CHECK(out.str() == "\r0/3 inputs, 0 units\x1b[K\r\x1b[K");
}

TEST_CASE("progress: the animated line never fills the terminal") {
  std::ostringstream out;
  test::FakeClock clock;
  const auto progress = make_progress(ProgressMode::automatic, false, out, {true, false, 40}, clock);
  progress->run_started(3);
  clock.now = clock.now + 1;
  progress->input_started("in/日本語のとても長いファイル名のフォルダ/映画.mp4");
  const std::string text = out.str();
  const std::size_t start = text.rfind('\r') + 1;
  const std::string line = text.substr(start, text.rfind("\x1b[K") - start);
  CHECK(display_width(line) <= 39);
  CHECK(line.find("…") != std::string::npos);
  CHECK(line.find("映画.mp4") != std::string::npos);
}

TEST_CASE("progress: an interrupted run says so, many errors of one input are counted") {
  std::ostringstream out;
  test::FakeClock clock;
  const auto progress = make_progress(ProgressMode::none, false, out, {}, clock);
  progress->run_started(5);
  progress->input_done(result_of("a.pdf", 1000));
  progress->run_finished();
  const std::string text = out.str();
  CHECK(text.find("a.pdf: 995 more errors\n") != std::string::npos);
  CHECK(text.find("interrupted after 1 of 5 inputs: 0 ok, 1 failed; 0 units in 0 s\n") != std::string::npos);
}

TEST_CASE("terminal: what is no terminal, or dumb, is neither animated nor coloured") {
  CHECK_FALSE(terminal_info(-1).animated);
  CHECK_FALSE(terminal_info(-1).colour);
}

TEST_CASE("display text: widths, shortening, durations") {
  CHECK(display_width("abc") == 3);
  CHECK(display_width("日本") == 4);
  CHECK(display_width("e\xCC\x81") == 1);
  CHECK(display_width("\xff") == 1);
  CHECK(shorten_to_end("abc", 3) == "abc");
  CHECK(shorten_to_end("abcdef", 4) == "…def");
  CHECK(shorten_to_end("日本語", 5) == "…本語");
  CHECK(shorten_to_end("日本語", 4) == "…語");
  CHECK(shorten_to_end("abc", 1).empty());
  CHECK(duration_text(59.9) == "59 s");
  CHECK(duration_text(200) == "3 min 20 s");
  CHECK(duration_text(7500) == "2 h 5 min");
  CHECK(duration_text(-1) == "0 s");
}
