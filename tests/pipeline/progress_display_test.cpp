#include "pipeline/progress_display.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <sstream>
#include <vector>

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

std::vector<std::uint64_t> sizes_of(std::size_t count) {
  return std::vector<std::uint64_t>(count);
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
  progress->run_started(sizes_of(2));
  progress->input_started(0, "in/a.mp4");
  progress->unit_found(0);
  clock.now = clock.now + 20;
  progress->unit_done(0, tokens(50, 10));
  progress->input_done(0, result_of("in/a.mp4"));
  progress->input_started(1, "in/b.pdf");
  clock.now = clock.now + 20;
  progress->input_done(1, result_of("in/b.pdf", 2));
  progress->run_finished();
  return out.str();
}

}  // namespace

TEST_CASE("progress: plain lines, errors as they happen, the summary last") {
  const std::string expected =
      "1/2 inputs, 1 unit, 5.0 tokens/s, 20 s, about 20 s left: in/a.mp4\n"
      "in/b.pdf: pdf.bad: line\\nbreak\n"
      "in/b.pdf, page 2: pdf.bad: line\\nbreak\n"
      "2/2 inputs, 1 unit, 5.0 tokens/s, 40 s: in/b.pdf\n"
      "2 inputs: 1 ok, 1 failed; 1 unit in 40 s, 5.0 tokens/s\n";
  CHECK(show(ProgressMode::plain, false, {}) == expected);
  CHECK(show(ProgressMode::automatic, false, {}) == expected);
}

TEST_CASE("progress: plain lines are ten seconds apart") {
  std::ostringstream out;
  test::FakeClock clock;
  const auto progress = make_progress(ProgressMode::plain, false, out, {}, clock);
  progress->run_started(sizes_of(1000));
  for (std::size_t i = 0; i < 1000; ++i) {
    clock.now = clock.now + 0.1;
    progress->input_done(i, result_of("x"));
  }
  const std::string text = out.str();
  const auto lines = std::count(text.begin(), text.end(), '\n');
  CHECK(lines >= 9);
  CHECK(lines <= 11);
}

TEST_CASE("progress: none keeps errors and summary, quiet keeps errors") {
  CHECK(show(ProgressMode::none, false, {}) ==
        "in/b.pdf: pdf.bad: line\\nbreak\nin/b.pdf, page 2: pdf.bad: line\\nbreak\n"
        "2 inputs: 1 ok, 1 failed; 1 unit in 40 s, 5.0 tokens/s\n");
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
  CHECK(text.find("\r0/2 inputs, 0 units, 0 s\x1b[K") == 0);
  CHECK(text.find("\r0/2 inputs, 1 unit, 5.0 tokens/s, 20 s  in/a.mp4\x1b[K") != std::string::npos);
  // The line is cleared before an error is written, and before the summary.
  CHECK(text.find("\r\x1b[Kin/b.pdf: \x1b[31mpdf.bad\x1b[0m: line") != std::string::npos);
  CHECK(text.find("\r\x1b[K2 inputs: 1 ok, 1 failed; 1 unit in 40 s, 5.0 tokens/s\n") != std::string::npos);
  CHECK(text.back() == '\n');
  CHECK(show(ProgressMode::automatic, false, {true, false, 60}).find("\x1b[31m") == std::string::npos);
}

TEST_CASE("progress: a line left when the run ends by an exception is removed") {
  std::ostringstream out;
  {
    const auto progress = make_progress(ProgressMode::automatic, false, out, {true, false, 80});
    progress->run_started(sizes_of(3));
  }
  CHECK(out.str() == "\r0/3 inputs, 0 units, 0 s\x1b[K\r\x1b[K");
}

TEST_CASE("progress: the animated line never fills the terminal") {
  std::ostringstream out;
  test::FakeClock clock;
  const auto progress = make_progress(ProgressMode::automatic, false, out, {true, false, 40}, clock);
  progress->run_started(sizes_of(3));
  clock.now = clock.now + 1;
  progress->input_started(0, "in/日本語のとても長いファイル名のフォルダ/映画.mp4");
  const std::string text = out.str();
  const std::size_t start = text.rfind('\r') + 1;
  const std::string line = text.substr(start, text.rfind("\x1b[K") - start);
  CHECK(display_width(line) <= 39);
  CHECK(line.find("…") != std::string::npos);
  CHECK(line.find("映画.mp4") != std::string::npos);
}

TEST_CASE("progress: in a narrow window what matters least is left out first") {
  const auto line_in = [](int columns) {
    std::ostringstream out;
    test::FakeClock clock;
    const auto progress = make_progress(ProgressMode::automatic, false, out, {true, false, columns}, clock);
    progress->run_started(sizes_of(2));
    progress->unit_found(0);
    progress->unit_done(0, tokens(50, 10));
    clock.now = clock.now + 20;
    progress->input_done(0, result_of("a"));
    const std::string text = out.str();
    const std::size_t start = text.rfind('\r') + 1;
    return text.substr(start, text.rfind("\x1b[K") - start);
  };
  CHECK(line_in(60) == "1/2 inputs, 1 unit, 5.0 tokens/s, 20 s, about 20 s left");
  CHECK(line_in(55) == "1/2 inputs, 1 unit, 5.0 tokens/s, about 20 s left");
  CHECK(line_in(40) == "1/2 inputs, 1 unit, about 20 s left");
  CHECK(line_in(32) == "1/2 inputs, about 20 s left");
  CHECK(line_in(20) == "1/2 inputs");
}

TEST_CASE("progress: the line moves while nothing happens, plain lines once a minute") {
  test::FakeClock clock;
  std::ostringstream animated;
  std::ostringstream plain;
  const auto line = make_progress(ProgressMode::automatic, false, animated, {true, false, 80}, clock);
  const auto lines = make_progress(ProgressMode::plain, false, plain, {}, clock);
  for (const auto& progress : {line.get(), lines.get()}) {
    progress->run_started(sizes_of(1));
    progress->input_started(0, "film.mp4");
    progress->unit_found(0);
  }
  for (int i = 0; i < 4 * 150; ++i) {
    clock.now = clock.now + Progress::kTickS;
    line->tick(tokens(10, 2));
    lines->tick(tokens(10, 2));
  }
  CHECK(animated.str().find("0/1 input, 0/1 unit, 5.0 tokens/s, 2 min 30 s  film.mp4") != std::string::npos);
  CHECK(plain.str() ==
        "0/1 input, 0/1 unit, 5.0 tokens/s, 1 min 0 s, at film.mp4\n"
        "0/1 input, 0/1 unit, 5.0 tokens/s, 2 min 0 s, at film.mp4\n");
}

TEST_CASE("progress: time left goes by sizes, by units of what is in hand, and not by what fails at once") {
  std::ostringstream out;
  test::FakeClock clock;
  const auto progress = make_progress(ProgressMode::json, false, out, {}, clock);
  const auto seconds_left = [&] {
    clock.now = clock.now + 1;  // the next line is due
    progress->tick({});
    const std::string text = out.str();
    const std::size_t start = text.rfind('\n', text.size() - 2);
    return stages::Json::parse(text.substr(start == std::string::npos ? 0 : start + 1))["seconds_left"];
  };
  // Weights 1, 2 and 5.
  progress->run_started(std::vector<std::uint64_t>{0, 1 << 20, 4 << 20});
  progress->input_started(0, "broken");
  progress->input_done(0, result_of("broken", 1));
  clock.now = clock.now + 8;
  CHECK(seconds_left().is_null());
  progress->input_started(1, "a");
  progress->unit_found(1);
  progress->unit_done(1, {});
  progress->input_done(1, result_of("a"));
  CHECK(seconds_left() == Approx(25));  // 10 s for 2, 5 are left
  progress->input_started(2, "b");
  for (int i = 0; i < 4; ++i) progress->unit_found(2);
  progress->unit_done(2, {});
  progress->unit_done(2, {});
  progress->input_advanced(2, 0.8);
  clock.now = clock.now + 5;
  CHECK(seconds_left() == Approx(12));  // 16 s for 2 + 5 * 0.8 * 2 / 4, 3 are left
}

TEST_CASE("progress: an interrupted run says so, many errors of one input are counted") {
  std::ostringstream out;
  test::FakeClock clock;
  const auto progress = make_progress(ProgressMode::none, false, out, {}, clock);
  progress->run_started(sizes_of(5));
  progress->input_done(0, result_of("a.pdf", 1000));
  progress->run_finished();
  const std::string text = out.str();
  CHECK(text.find("a.pdf: 995 more errors\n") != std::string::npos);
  CHECK(text.find("interrupted after 1 of 5 inputs: 0 ok, 1 failed; 0 units in 0.0 s\n") !=
        std::string::npos);
}

TEST_CASE("terminal: what is no terminal, is dumb or is told NO_COLOR is neither animated nor coloured") {
  CHECK_FALSE(terminal_info(-1).animated);
  CHECK_FALSE(terminal_info(-1).colour);

  const int controller = ::posix_openpt(O_RDWR | O_NOCTTY);
  REQUIRE(controller >= 0);
  REQUIRE(::grantpt(controller) == 0);
  REQUIRE(::unlockpt(controller) == 0);
  const int terminal = ::open(::ptsname(controller), O_RDWR | O_NOCTTY);
  REQUIRE(terminal >= 0);

  ::setenv("TERM", "xterm", 1);
  ::unsetenv("NO_COLOR");
  CHECK(terminal_info(terminal).animated);
  CHECK(terminal_info(terminal).colour);
  ::setenv("NO_COLOR", "", 1);
  CHECK(terminal_info(terminal).animated);
  ::setenv("NO_COLOR", "1", 1);
  CHECK_FALSE(terminal_info(terminal).animated);
  CHECK_FALSE(terminal_info(terminal).colour);
  ::unsetenv("NO_COLOR");
  ::setenv("TERM", "dumb", 1);
  CHECK_FALSE(terminal_info(terminal).animated);
  CHECK_FALSE(terminal_info(terminal).colour);
  ::close(terminal);
  ::close(controller);
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
