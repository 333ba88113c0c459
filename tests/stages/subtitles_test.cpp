#include "stages/subtitle_cues.h"

#include <string>
#include <vector>

#include "stages/text_width.h"
#include "stages/write_subtitles.h"
#include "tests/stages/media_fixture.h"
#include "tests/support/catch.h"

using namespace reelfolio;
using namespace reelfolio::stages;

namespace {

const std::string kProse =
    "When the train left the station, nobody had noticed that the last car was missing. The conductor "
    "counted "
    "the passengers twice, shook his head, and went to the engine to ask what had happened. There was no "
    "answer.";

void check_conventions(const std::vector<Cue>& cues) {
  for (std::size_t i = 0; i < cues.size(); ++i) {
    CAPTURE(i);
    CHECK(cues[i].end_s > cues[i].start_s);
    CHECK(cues[i].end_s - cues[i].start_s <= 7.0001);
    if (i > 0) CHECK(cues[i].start_s >= cues[i - 1].end_s);
    REQUIRE(cues[i].lines.size() >= 1);
    CHECK(cues[i].lines.size() <= 2);
    for (const std::string& line : cues[i].lines) {
      CHECK_FALSE(line.empty());
      CHECK(display_width(line) <= 42);
    }
  }
}

std::string text_of(const std::vector<Cue>& cues) {
  std::string text;
  for (const Cue& cue : cues) {
    for (const std::string& line : cue.lines) text += (text.empty() ? "" : " ") + line;
  }
  return text;
}

/// Keeps what it is given.
class CountingSink final : public Sink {
 public:
  explicit CountingSink(int& written) : written_(written) {}
  void write(const InputResult&) override { ++written_; }
  void finish() override { written_ += 100; }

 private:
  int& written_;
};

InputResult transcript(const std::string& name, const std::string& stage, const Json& clips) {
  InputResult result;
  auto input = std::make_shared<InputFile>();
  input->name = name;
  input->path = name;
  result.input = input;
  UnitResult unit;
  unit.unit = std::make_shared<Unit>();
  unit.results.emplace_back(stage, Json{{"text", ""}, {"clips", clips}});
  result.units.push_back(unit);
  return result;
}

}  // namespace

TEST_CASE("subtitles: prose is divided into readable cues and nothing is lost") {
  const std::vector<Speech> speech = {{10, 24, kProse}};
  const std::vector<Cue> cues = subtitle_cues(speech);
  check_conventions(cues);
  CHECK(text_of(cues) == kProse);
  CHECK(cues.front().start_s == Approx(10));
  CHECK(cues.size() >= 3);
  CHECK(cues.size() <= 5);
  // A sentence's end is a better place than the middle of one.
  bool ends_sentence = false;
  for (const Cue& cue : cues) ends_sentence = ends_sentence || cue.lines.back().ends_with("missing.");
  CHECK(ends_sentence);
}

TEST_CASE("subtitles: lines break evenly, the lower one the longer") {
  const std::vector<Cue> cues =
      subtitle_cues(std::vector<Speech>{{0, 5, "one two three four five six seven eight nine ten eleven"}});
  REQUIRE(cues.size() == 1);
  REQUIRE(cues[0].lines.size() == 2);
  CHECK(cues[0].lines[0] == "one two three four five six");
  CHECK(cues[0].lines[1] == "seven eight nine ten eleven");
}

TEST_CASE("subtitles: a short word stays as long as it takes to read, if the next leaves the time") {
  const std::vector<Cue> alone = subtitle_cues(std::vector<Speech>{{3, 3.2, "Yes."}});
  REQUIRE(alone.size() == 1);
  CHECK(alone[0].end_s - alone[0].start_s == Approx(5.0 / 6));
  const std::vector<Cue> pair =
      subtitle_cues(std::vector<Speech>{{3, 3.2, "Yes."}, {3.5, 5, "I will come."}});
  REQUIRE(pair.size() == 2);
  CHECK(pair[0].end_s == Approx(3.5 - 1.0 / 12));
  const std::vector<Cue> slow = subtitle_cues(std::vector<Speech>{{0, 30, "Well."}});
  CHECK(slow[0].end_s == Approx(7));
}

TEST_CASE("subtitles: times stay apart however the text and the clips are") {
  std::vector<Speech> speech;
  Sequence random(5);
  double at_s = 0;
  for (int i = 0; i < 200; ++i) {
    Speech part;
    part.start_s = at_s;
    part.end_s = at_s + 0.05 + random.next(1000) / 100.0;
    at_s = part.end_s + (random.next(3) == 0 ? random.next(100) / 100.0 : 0);
    for (std::uint32_t word = random.next(60); word > 0; --word) {
      part.text += std::string(1 + random.next(12), 'a');
      part.text += random.next(6) == 0 ? ". " : random.next(8) == 0 ? ", " : " ";
    }
    speech.push_back(part);
  }
  const std::vector<Cue> cues = subtitle_cues(speech);
  check_conventions(cues);
  std::string said;
  for (const Speech& part : speech) said += part.text;
  std::erase(said, ' ');
  std::string shown = text_of(cues);
  std::erase(shown, ' ');
  CHECK(shown == said);
}

TEST_CASE("subtitles: scripts without spaces break between characters, by their width") {
  std::string text;
  for (int i = 0; i < 6; ++i) text += "今日は天気がいいから散歩しましょう。";
  const std::vector<Cue> cues = subtitle_cues(std::vector<Speech>{{0, 20, text}});
  check_conventions(cues);
  CHECK(cues.size() >= 3);
  std::string shown = text_of(cues);
  std::erase(shown, ' ');
  CHECK(shown == text);
  for (const Cue& cue : cues) {
    for (const std::string& line : cue.lines) CHECK_FALSE(line.starts_with("。"));
  }
  const std::string word(200, 'x');
  check_conventions(subtitle_cues(std::vector<Speech>{{0, 20, word}}));
}

TEST_CASE("subtitles: as SubRip and WebVTT") {
  const std::vector<Cue> cues = {{1.5, 3.25, {"Is a < b --> c?", "R & D"}}, {3661.0014, 3662, {"Two"}}};
  CHECK(subtitle_text(cues, SubtitleFormat::srt) ==
        "1\n00:00:01,500 --> 00:00:03,250\nIs a < b → c?\nR & D\n\n2\n01:01:01,001 --> 01:01:02,000\nTwo\n");
  CHECK(subtitle_text(cues, SubtitleFormat::vtt) ==
        "WEBVTT\n\n00:00:01.500 --> 00:00:03.250\nIs a &lt; b → c?\nR &amp; D\n\n01:01:01.001 --> "
        "01:01:02.000\nTwo\n");
  CHECK(subtitle_text({}, SubtitleFormat::srt).empty());
  CHECK(subtitle_text({}, SubtitleFormat::vtt) == "WEBVTT\n");
}

TEST_CASE("subtitles: control characters and broken text make no line of their own") {
  const std::vector<Cue> cues =
      subtitle_cues(std::vector<Speech>{{0, 2, "one\n\n2\n00:00:01,000 --> x\r\ttwo\xFF"}});
  const std::string text = subtitle_text(cues, SubtitleFormat::srt);
  CHECK(text.find("\n\n") == std::string::npos);
  CHECK(text.find("one 2 00:00:01,000 → x two\uFFFD") != std::string::npos);
  CHECK(subtitle_cues(std::vector<Speech>{{0, 2, " \n "}, {2, 2, "no time"}}).empty());
}

TEST_CASE("write_subtitles: files are named after inputs, below the folder") {
  const auto path = [](const std::string& name, bool with_hash = false) {
    InputFile input;
    input.name = name;
    input.path = name;
    return subtitle_path(input, "srt", with_hash).string();
  };
  CHECK(path("trip.mp4") == "trip.mp4.srt");
  CHECK(path("films/2026/trip.mp4") == "films/2026/trip.mp4.srt");
  CHECK(path("/home/u/./trip.mp4") == "home/u/trip.mp4.srt");
  CHECK(path("../../etc/trip.mp4") == "__/__/etc/trip.mp4.srt");
  CHECK(path("..") == "__.srt");
  CHECK(path("trip.mp4", true) == path("trip.mp4", true));
  CHECK(path("trip.mp4", true).size() == std::string("trip.mp4.01234567.srt").size());
  CHECK(path("a\nb.mp4") != path("a\tb.mp4"));
  CHECK(path("a\nb.mp4").find("a_b.mp4.") == 0);
  const std::string long_name = path(std::string(250, 'x') + ".mp4");
  CHECK(long_name.size() < 255);
}

TEST_CASE("write_subtitles: one file an input and format, then the next sink") {
  const MediaFolder folder;
  int written = 0;
  SubtitleSettings settings;
  settings.formats = {SubtitleFormat::srt, SubtitleFormat::vtt};
  settings.folder = folder.path("subs");
  settings.stages = {"speech"};
  const auto sink = make_subtitle_sink(settings, std::make_unique<CountingSink>(written));
  const Json clips = {{{"start_s", 1}, {"end_s", 2.5}, {"text", "Hello."}, {"no_speech", false}},
                      {{"start_s", 2.5}, {"end_s", 4}, {"text", "(noise)"}, {"no_speech", true}}};
  sink->write(transcript("in/a.mp4", "speech", clips));
  sink->write(transcript("in/b.mp4", "speech", Json::array()));
  sink->write(transcript("in/c.mp4", "caption", clips));
  sink->write(transcript("in//a.mp4", "speech", clips));  // another input, the same name
  CHECK(written == 4);
  sink->finish();
  CHECK(written == 104);
  CHECK(read_file(folder.path("subs/in/a.mp4.srt")) == "1\n00:00:01,000 --> 00:00:02,500\nHello.\n");
  CHECK(read_file(folder.path("subs/in/a.mp4.vtt")).find("WEBVTT\n\n00:00:01.000") == 0);
  CHECK(read_file(folder.path("subs/in/b.mp4.srt")).empty());
  CHECK(std::filesystem::exists(folder.path("subs/in/b.mp4.srt")));
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder.path("subs"))) {
    if (entry.is_regular_file()) ++files;
  }
  CHECK(files == 6);  // a, b, and the second a with a hash, in two formats; nothing temporary
}

TEST_CASE(
    "write_subtitles: with several stages names say which, a folder that cannot be is an output error") {
  const MediaFolder folder;
  int written = 0;
  SubtitleSettings settings;
  settings.formats = {SubtitleFormat::srt};
  settings.folder = folder.path("subs");
  settings.stages = {"speech", "english"};
  make_subtitle_sink(settings, std::make_unique<CountingSink>(written))
      ->write(transcript("a.mp4", "english", Json::array()));
  CHECK(std::filesystem::exists(folder.path("subs/a.mp4.english.srt")));
  settings.folder = folder.write("file", "not a folder");
  CHECK_THROWS(make_subtitle_sink(settings, std::make_unique<CountingSink>(written))
                   ->write(transcript("a.mp4", "english", Json::array())));
}
