#include "stages/write_jsonl.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "tests/stages/language_fixture.h"
#include "tests/support/catch.h"
#include "tests/support/temp_folder.h"

using namespace reelfolio::stages;
using namespace reelfolio::stages::testing;
using reelfolio::test::read_file;
using reelfolio::test::TempFolder;

namespace {

std::shared_ptr<const InputFile> input(const char* name, MediaKind media) {
  auto file = std::make_shared<InputFile>();
  file->name = name;
  file->sha256 = "ab12";
  file->media = media;
  return file;
}

InputResult bill() {
  const Item item = page_item();
  InputResult result;
  result.input = input("inbox/bill.pdf", MediaKind::pdf);
  auto unit = std::make_shared<Unit>(*item.unit);
  unit->index = 0;
  unit->number = 1;
  result.units.push_back(
      {unit, {}, {{"invoice", Json::parse(R"({"value":{"number":"A-17","total":42.1},"valid":true})")}}});
  return result;
}

}  // namespace

TEST_CASE("write_jsonl: scene lines hold times to the millisecond and the frames") {
  const Item item = scene_item();
  InputResult result;
  result.input = input("inbox/trip.mp4", MediaKind::video);
  result.units.push_back({item.unit,
                          {13.1, 14.9},
                          {{"caption", Json{{"text", "A boat"}, {"finish_reason", "stop"}}},
                           {"answers", Json{{"people", {{"text", "two"}, {"finish_reason", "stop"}}}}}}});
  CHECK(
      jsonl_lines(result) ==
      R"({"type":"unit","input":"inbox/trip.mp4","sha256":"ab12","unit":{"kind":"scene","index":3,"start_s":12.345,"end_s":15.682,"frames":[{"time_s":13.1},{"time_s":14.9}]},"caption":{"text":"A boat","finish_reason":"stop"},"answers":{"people":{"text":"two","finish_reason":"stop"}}})"
      "\n"
      R"({"type":"input","input":"inbox/trip.mp4","sha256":"ab12","media":"video","status":"ok","units":1,"errors":[]})"
      "\n");
}

TEST_CASE("write_jsonl: page lines hold index, number and size") {
  CHECK(
      jsonl_lines(bill()) ==
      R"({"type":"unit","input":"inbox/bill.pdf","sha256":"ab12","unit":{"kind":"page","index":0,"number":1,"width_px":1240,"height_px":1754},"invoice":{"value":{"number":"A-17","total":42.1},"valid":true}})"
      "\n"
      R"({"type":"input","input":"inbox/bill.pdf","sha256":"ab12","media":"pdf","status":"ok","units":1,"errors":[]})"
      "\n");
}

TEST_CASE("write_jsonl: image lines hold index and size") {
  InputResult result = bill();
  auto unit = std::make_shared<Unit>();
  unit->kind = UnitKind::image;
  unit->width_px = 64;
  unit->height_px = 48;
  result.units[0] = {unit, {}, {}};
  CHECK(jsonl_lines(result).find(R"("unit":{"kind":"image","index":0,"width_px":64,"height_px":48}})") !=
        std::string::npos);
}

TEST_CASE("write_jsonl: a failed input gets its closing line with the errors") {
  InputResult result = bill();
  auto file = std::make_shared<InputFile>(*result.input);
  file->sha256.clear();
  file->media = MediaKind::unknown;
  result.input = file;
  const auto unit = result.units[0].unit;
  result.units.clear();
  result.status = InputStatus::failed;
  result.errors = {{"inputs", nullptr, "input.unreadable", "no \"permission\"\n"},
                   {"pages", unit, "pdf.page", "broken"}};
  CHECK(
      jsonl_lines(result) ==
      R"({"type":"input","input":"inbox/bill.pdf","sha256":null,"media":"unknown","status":"failed","units":0,"errors":[{"stage":"inputs","unit":null,"code":"input.unreadable","message":"no \"permission\"\n"},{"stage":"pages","unit":{"kind":"page","index":0,"number":1},"code":"pdf.page","message":"broken"}]})"
      "\n");
}

TEST_CASE("write_jsonl: units name their stage where several stages cut that kind") {
  const std::string lines = jsonl_lines(bill(), {UnitKind::page});
  CHECK(lines.find(R"("unit":{"kind":"page","stage":"pages","index":0,"number":1,)") != std::string::npos);
  CHECK(jsonl_lines(bill(), {UnitKind::scene}) == jsonl_lines(bill()));
}

TEST_CASE("write_jsonl: text that is not UTF-8 is replaced, never refused") {
  InputResult result = bill();
  result.units[0].results = {{"caption", Json{{"text", "caf\xE9 \xF0\x9F"}}}};
  const std::string lines = jsonl_lines(result);
  CHECK(lines.find("caf\xEF\xBF\xBD \xEF\xBF\xBD") != std::string::npos);
  CHECK(Json::accept(lines.substr(0, lines.find('\n'))));
}

TEST_CASE("write_jsonl: the file appears under its name only when it is finished") {
  const TempFolder folder;
  const auto path = folder / "out.jsonl";
  std::ofstream(path) << "old\n";
  std::filesystem::permissions(path,
                               std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  const auto sink = make_jsonl_sink(path);
  sink->write(bill());
  CHECK(read_file(path) == "old\n");
  CHECK(read_file(partial_path(path)) == jsonl_lines(bill()));
  sink->finish();
  CHECK(read_file(path) == jsonl_lines(bill()));
  CHECK_FALSE(std::filesystem::exists(partial_path(path)));
  CHECK(std::filesystem::status(path).permissions() ==
        (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));
}

TEST_CASE("write_jsonl: a run that ends early leaves the old file, and its lines beside it") {
  const TempFolder folder;
  const auto path = folder / "out.jsonl";
  std::ofstream(path) << "old\n";
  make_jsonl_sink(path)->write(bill());
  CHECK(read_file(path) == "old\n");
  CHECK(read_file(partial_path(path)) == jsonl_lines(bill()));
  // The next run begins afresh, and one without a line leaves nothing behind.
  { const auto sink = make_jsonl_sink(path); }
  CHECK_FALSE(std::filesystem::exists(partial_path(path)));
}

TEST_CASE("write_jsonl: a symbolic link stays a link") {
  const TempFolder folder;
  std::filesystem::create_directory(folder / "data");
  std::filesystem::create_symlink("data/real.jsonl", folder / "link.jsonl");
  const auto sink = make_jsonl_sink(folder / "link.jsonl");
  sink->write(bill());
  sink->finish();
  CHECK(std::filesystem::is_symlink(folder / "link.jsonl"));
  CHECK(read_file(folder / "data" / "real.jsonl") == jsonl_lines(bill()));
}

TEST_CASE("write_jsonl: an output that cannot be written names the file and the reason") {
  const TempFolder folder;
  const auto message = [](const std::filesystem::path& path) -> std::string {
    try {
      const auto sink = make_jsonl_sink(path);
      sink->write(bill());
      sink->finish();
    } catch (const OutputError& error) {
      CHECK_FALSE(error.closed_pipe);
      return error.what();
    }
    return "";
  };
  CHECK(message(folder.path()) == folder.path().string() + ": cannot be written: is a directory");
  CHECK(message(folder / "none" / "out.jsonl")
            .find("out.jsonl.partial: cannot be written: no such file or directory") != std::string::npos);
  CHECK(message("/dev/full") == "/dev/full: cannot be written: no space left on device");
}

TEST_CASE("write_jsonl: a reader that has gone is told apart from a full disk") {
  const TempFolder folder;
  const auto path = folder / "pipe";
  REQUIRE(mkfifo(path.c_str(), 0600) == 0);
  const int reader = open(path.c_str(), O_RDONLY | O_NONBLOCK);
  REQUIRE(reader >= 0);
  const auto before = std::signal(SIGPIPE, SIG_IGN);
  const auto sink = make_jsonl_sink(path);
  close(reader);
  bool closed_pipe = false;
  try {
    sink->write(bill());
  } catch (const OutputError& error) {
    closed_pipe = error.closed_pipe;
  }
  std::signal(SIGPIPE, before);
  CHECK(closed_pipe);
}

TEST_CASE("write_jsonl: results of the whole input close its line, texts have lines, subtitles times") {
  InputResult result;
  result.input = input("inbox/talk.srt", MediaKind::text);
  auto unit = std::make_shared<Unit>();
  unit->producer = "parts";
  unit->kind = UnitKind::text;
  unit->text = "not shown";
  unit->first_line = 5;
  unit->last_line = 12;
  unit->timed = true;
  unit->start_s = 1.5;
  unit->end_s = 9;
  result.units.push_back({unit, {}, {{"facts", Json{{"value", {{"a", 1}}}}}}});
  result.results.emplace_back("facts", Json{{"value", {{"a", 1}}}, {"evidence", {{"a", {0}}}}});
  CHECK(
      jsonl_lines(result) ==
      R"({"type":"unit","input":"inbox/talk.srt","sha256":"ab12","unit":{"kind":"text","index":0,"first_line":5,"last_line":12,"start_s":1.5,"end_s":9},"facts":{"value":{"a":1}}})"
      "\n"
      R"({"type":"input","input":"inbox/talk.srt","sha256":"ab12","media":"text","status":"ok","units":1,"errors":[],"facts":{"value":{"a":1},"evidence":{"a":[0]}}})"
      "\n");
}
