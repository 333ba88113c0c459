#include "stages/audio/audio_reader.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "stages/probe.h"
#include "stages/video/video_reader.h"
#include "tests/stages/media_fixture.h"
#include "tests/support/catch.h"
#include "tests/support/sound_maker.h"

using namespace reelfolio;
using namespace reelfolio::stages;
using test::TrackSpec;

namespace {

struct Heard {
  std::vector<float> samples;
  std::vector<std::string> problems;
  double seconds() const { return static_cast<double>(samples.size()) / 16000; }
};

Heard hear(const std::filesystem::path& path, AudioReaderOptions options = {}) {
  AudioReader reader(path, std::move(options));
  Heard heard;
  std::vector<float> piece;
  while (reader.next(piece)) {
    REQUIRE_FALSE(piece.empty());
    heard.samples.insert(heard.samples.end(), piece.begin(), piece.end());
    REQUIRE(reader.position() == static_cast<std::int64_t>(heard.samples.size()));
  }
  for (const ItemError& problem : reader.take_problems()) heard.problems.push_back(problem.code());
  return heard;
}

TrackSpec track(const std::string& codec, int rate, int channels, double seconds, double chirp_s) {
  TrackSpec spec;
  spec.codec = codec;
  spec.rate = rate;
  spec.channels = channels;
  spec.seconds = seconds;
  spec.sound = test::chirp_at(chirp_s);
  return spec;
}

Heard hear_made(const test::SoundFileSpec& spec, AudioReaderOptions options = {}) {
  const MediaFolder folder;
  test::make_sound_file(folder.path("sound"), spec);
  return hear(folder.path("sound"), std::move(options));
}

constexpr double kTenMs = 0.010;

/// Two seconds in mode 7 (12.2 kbit/s): 32 bytes for 20 ms. What they sound like does not matter.
std::string amr_bytes() {
  std::string bytes = "#!AMR\n";
  Sequence random(11);
  for (int frame = 0; frame < 100; ++frame) {
    bytes += '\x3c';
    for (int i = 0; i < 31; ++i) bytes += static_cast<char>(random.next(256));
  }
  return bytes;
}

}  // namespace

TEST_CASE("audio reader: a chirp is heard at its time, in every codec and container") {
  struct Case {
    const char* container;
    const char* codec;
    int rate;
    int channels;
  };
  const Case cases[] = {
      {"wav", "pcm_s16le", 8000, 1}, {"wav", "pcm_f32le", 192000, 8}, {"wav", "pcm_u8", 11025, 2},
      {"flac", "flac", 44100, 2},    {"mp3", "libmp3lame", 44100, 2}, {"adts", "aac", 48000, 2},
      {"ogg", "libopus", 48000, 2},  {"ogg", "libvorbis", 44100, 1},  {"mp4", "aac", 44100, 2},
      {"matroska", "aac", 48000, 6}, {"webm", "libopus", 48000, 1},   {"mpegts", "aac", 32000, 2},
      {"mov", "pcm_s16le", 22050, 1}};
  for (const Case& c : cases) {
    CAPTURE(c.container, c.codec, c.rate, c.channels);
    test::SoundFileSpec spec;
    spec.container = c.container;
    spec.tracks = {track(c.codec, c.rate, c.channels, 2, 1.234)};
    const Heard heard = hear_made(spec);
    const double error_s = test::find_chirp(heard.samples) - 1.234;
    // ADTS, MPEG-TS and some versions of Matroska do not say how long an AAC encoder's delay is: it is part
    // of the sound then.
    const double delay_s =
        c.codec == std::string("aac") && c.container != std::string("mp4") ? 1024.0 / c.rate : 0;
    CHECK(std::min(std::abs(error_s), std::abs(error_s - delay_s)) < kTenMs);
    CHECK(std::abs(heard.seconds() - 2) < 0.1);
    CHECK(heard.problems.empty());
  }
}

TEST_CASE("audio reader: a delayed track begins with silence") {
  for (const char* container : {"mp4", "matroska", "mpegts"}) {
    CAPTURE(container);
    test::SoundFileSpec spec;
    spec.container = container;
    spec.video_s = 4;
    spec.tracks = {track("aac", 48000, 2, 2, 0.5)};
    spec.tracks[0].start_s = 1.7;
    const Heard heard = hear_made(spec);
    CHECK(std::abs(test::find_chirp(heard.samples) - 2.2) < kTenMs);
    for (std::size_t i = 0; i < 16000; ++i) REQUIRE(heard.samples[i] == 0.0F);
  }
}

TEST_CASE("audio reader: an edit list leaves out the beginning of a track") {
  for (const char* codec : {"aac", "pcm_s16le"}) {
    CAPTURE(codec);
    test::SoundFileSpec spec;
    spec.container = codec == std::string("aac") ? "mp4" : "mov";
    spec.video_s = 3;
    spec.tracks = {track(codec, 44100, 1, 4, 2.0)};
    spec.tracks[0].start_s = -1.25;
    const Heard heard = hear_made(spec);
    CHECK(std::abs(test::find_chirp(heard.samples) - 0.75) < kTenMs);
    CHECK(std::abs(heard.seconds() - 2.75) < 0.1);
    CHECK(heard.problems.empty());
  }
}

TEST_CASE("audio reader: times are those of the frames of the same file") {
  // The sound is the earliest stream: the pictures' times count from its start.
  test::SoundFileSpec spec;
  spec.video_s = 2;
  spec.tracks = {track("pcm_s16le", 48000, 1, 3, 0.5)};
  spec.tracks[0].start_s = 0.5;
  const MediaFolder folder;
  test::make_sound_file(folder.path("late"), spec);
  VideoReader frames(folder.path("late"));
  REQUIRE(frames.next());
  CHECK(frames.time_s() == Approx(0).margin(1e-6));
  CHECK(std::abs(test::find_chirp(hear(folder.path("late")).samples) - 1.0) < kTenMs);
}

TEST_CASE("audio reader: packets that are missing leave their time silent") {
  for (const char* container : {"matroska", "mp4"}) {
    CAPTURE(container);
    test::SoundFileSpec spec;
    spec.container = container;
    spec.tracks = {track(container == std::string("mp4") ? "aac" : "pcm_s16le", 48000, 1, 6, 4.5)};
    spec.tracks[0].gaps = {{1.0, 3.0}};
    const Heard heard = hear_made(spec);
    CHECK(std::abs(test::find_chirp(heard.samples) - 4.5) < kTenMs);
    CHECK(std::abs(heard.seconds() - 6) < 0.1);
  }
}

TEST_CASE("audio reader: time goes on where a clock starts over") {
  // Two recordings one after the other, as broadcasts are joined.
  const MediaFolder folder;
  test::SoundFileSpec spec;
  spec.container = "mpegts";
  spec.tracks = {track("aac", 48000, 1, 3, 100)};  // no chirp
  test::make_sound_file(folder.path("first"), spec);
  spec.tracks = {track("aac", 48000, 1, 2, 1.5)};
  test::make_sound_file(folder.path("second"), spec);
  const Heard heard =
      hear(folder.write("both", read_file(folder.path("first")) + read_file(folder.path("second"))));
  CHECK(std::abs(heard.seconds() - 5) < 0.2);
  CHECK(std::abs(test::find_chirp(heard.samples) - 4.5) < 0.1);  // each part has an encoder's delay
}

TEST_CASE("audio reader: a damaged timestamp makes no days of silence") {
  test::SoundFileSpec spec;
  spec.tracks = {track("pcm_s16le", 48000, 1, 2, 1.5)};
  spec.tracks[0].jump = {1.0, 20 * 3600.0};
  const Heard heard = hear_made(spec);
  CHECK(std::abs(heard.seconds() - 2) < 0.1);
  CHECK(std::abs(test::find_chirp(heard.samples) - 1.5) < kTenMs);
}

TEST_CASE("audio reader: a pause of minutes in the middle is kept") {
  test::SoundFileSpec spec;
  spec.tracks = {track("pcm_s16le", 8000, 1, 2, 1.5)};
  spec.tracks[0].jump = {1.0, 120.0};
  CHECK(std::abs(test::find_chirp(hear_made(spec).samples) - 121.5) < kTenMs);
}

TEST_CASE("audio reader: a track that ends early is heard as far as it goes") {
  test::SoundFileSpec spec;
  spec.container = "mp4";
  spec.video_s = 4;
  spec.tracks = {track("aac", 48000, 2, 1.5, 1.0)};
  const Heard heard = hear_made(spec);
  CHECK(std::abs(heard.seconds() - 1.5) < 0.1);
  CHECK(heard.problems.empty());
}

TEST_CASE("audio reader: of several tracks the default one is heard, or the one asked for") {
  test::SoundFileSpec spec;
  for (const auto& [language, chirp_s] : {std::pair("eng", 0.2), std::pair("ger", 0.4), std::pair("", 0.6)}) {
    spec.tracks.push_back(track("pcm_s16le", 16000, 1, 1, chirp_s));
    spec.tracks.back().language = language;
    spec.tracks.back().is_default = language == std::string("ger");
  }
  const MediaFolder folder;
  test::make_sound_file(folder.path("tracks.mkv"), spec);
  const auto chirp_with = [&](TrackChoice choice) {
    return test::find_chirp(hear(folder.path("tracks.mkv"), {std::move(choice), {}}).samples);
  };
  CHECK(chirp_with({}) == Approx(0.4).margin(0.001));
  CHECK(chirp_with({1, {}}) == Approx(0.2).margin(0.001));
  CHECK(chirp_with({3, {}}) == Approx(0.6).margin(0.001));
  CHECK(chirp_with({{}, {"en-GB"}}) == Approx(0.2).margin(0.001));
  CHECK(chirp_with({{}, {"fr", "deu"}}) == Approx(0.4).margin(0.001));
  CHECK(chirp_with({{}, {"fr"}}) == Approx(0.6).margin(0.001));  // the one without a language
  try {
    chirp_with({4, {}});
    FAIL("track 4 is there");
  } catch (const ItemError& error) {
    CHECK(error.code() == "audio.no_track");
    CHECK(std::string(error.what()).find("1 (eng), 2 (ger), 3 (no language)") != std::string::npos);
  }
  spec.tracks.pop_back();
  test::make_sound_file(folder.path("two.mkv"), spec);
  CHECK(error_code([&] {
          AudioReader reader(folder.path("two.mkv"), {{{}, {"fr"}}, {}});
        }) == "audio.no_track");
}

TEST_CASE("audio reader: language tags") {
  CHECK(same_language("deu", "de"));
  CHECK(same_language("ger", "DEU"));
  CHECK(same_language("de-AT", "ger"));
  CHECK(same_language("gsw", "gsw"));
  CHECK_FALSE(same_language("eng", "de"));
  CHECK_FALSE(same_language("", "de"));
  CHECK_FALSE(same_language("", ""));
}

TEST_CASE("audio reader: a video without sound has no track, what is no media is refused") {
  const MediaFolder folder;
  test::SoundFileSpec spec;
  spec.video_s = 1;
  test::make_sound_file(folder.path("mute.mkv"), spec);
  AudioReader reader(folder.path("mute.mkv"));
  CHECK_FALSE(reader.has_track());
  std::vector<float> piece;
  CHECK_FALSE(reader.next(piece));
  CHECK(reader.take_problems().empty());
  CHECK(reader.length_s().value_or(0) == Approx(1).margin(0.1));
  CHECK(error_code([&] { AudioReader text(folder.write("text", "no sound at all\n")); }) ==
        "audio.unreadable");
  CHECK(error_code([&] { AudioReader missing(folder.path("missing")); }) == "input.unreadable");
}

TEST_CASE("audio reader: samples that are not numbers are silent and reported") {
  test::SoundFileSpec spec;
  spec.container = "wav";
  spec.tracks = {track("pcm_f32le", 16000, 1, 1, 0.5)};
  spec.tracks[0].sound = [](double time_s, int) {
    if (time_s < 0.25) return std::numeric_limits<double>::quiet_NaN();
    return time_s < 0.5 ? std::numeric_limits<double>::infinity() : 40.0;
  };
  const Heard heard = hear_made(spec);
  CHECK(heard.problems == std::vector<std::string>{"audio.corrupt"});
  REQUIRE(heard.samples.size() == 16000);
  CHECK(heard.samples[4000] == 0.0F);
  CHECK(heard.samples[12000] == 1.0F);
}

TEST_CASE("audio reader: a file that is cut off is heard as far as it goes, and reported") {
  const MediaFolder folder;
  test::SoundFileSpec spec;
  spec.container = "wav";
  spec.tracks = {track("pcm_s16le", 16000, 1, 4, 0.5)};
  test::make_sound_file(folder.path("whole.wav"), spec);
  const std::string whole = read_file(folder.path("whole.wav"));
  const Heard half = hear(folder.write("half.wav", whole.substr(0, whole.size() / 2)));
  CHECK(half.problems == std::vector<std::string>{"audio.truncated"});
  CHECK(std::abs(half.seconds() - 2) < 0.1);
  CHECK(std::abs(test::find_chirp(half.samples) - 0.5) < kTenMs);

  // No sound at all in what is left.
  const Heard none = hear(folder.write("head.wav", whole.substr(0, 100)));
  CHECK(none.seconds() < 0.01);
}

TEST_CASE("audio reader: after damage in the middle, time goes on") {
  // Raw FLAC, whose parser drops what is broken, and FLAC in packets, of which the decoder complains.
  for (const char* container : {"flac", "matroska"}) {
    CAPTURE(container);
    const MediaFolder folder;
    test::SoundFileSpec spec;
    spec.container = container;
    spec.tracks = {track("flac", 44100, 1, 6, 5.0)};
    Sequence random(3);
    std::vector<double> noise(4096);
    for (double& value : noise) value = static_cast<double>(random.next(1000)) / 5000.0;
    const auto chirp = test::chirp_at(5.0);
    spec.tracks[0].sound = [&](double time_s, int channel) {
      return time_s > 4.5 ? chirp(time_s, channel) : noise[static_cast<std::size_t>(time_s * 44100) % 4096];
    };
    test::make_sound_file(folder.path("whole"), spec);
    std::string bytes = read_file(folder.path("whole"));
    const std::size_t middle = bytes.size() / 3;
    for (std::size_t i = middle; i < middle + 3000; ++i) bytes[i] = static_cast<char>(random.next(256));
    const Heard heard = hear(folder.write("damaged", bytes));
    CHECK(std::abs(test::find_chirp(heard.samples) - 5.0) < kTenMs);
    CHECK(std::abs(heard.seconds() - 6) < 0.1);
    if (container == std::string("matroska"))
      CHECK(heard.problems == std::vector<std::string>{"audio.corrupt"});
  }
}

TEST_CASE("audio reader: AMR, whose frames are written here by hand") {
  const MediaFolder folder;
  const Heard heard = hear(folder.write("speech.amr", amr_bytes()));
  CHECK(std::abs(heard.seconds() - 2) < 0.05);
}

TEST_CASE("probe: sound files are sound by their content, whatever their names") {
  const MediaFolder folder;
  const std::pair<const char*, const char*> kinds[] = {
      {"wav", "pcm_s16le"}, {"flac", "flac"},     {"mp3", "libmp3lame"}, {"adts", "aac"},
      {"ogg", "libopus"},   {"ogg", "libvorbis"}, {"ipod", "aac"},       {"mp4", "aac"},
      {"matroska", "aac"},  {"mpegts", "aac"},    {"aiff", "pcm_s16be"}, {"mov", "pcm_s16le"}};
  for (const auto& [container, codec] : kinds) {
    CAPTURE(container, codec);
    test::SoundFileSpec spec;
    spec.container = container;
    spec.tracks = {track(codec, 48000, 1, 1, 0.5)};
    test::make_sound_file(folder.path("picture.png"), spec);
    CHECK(probe_input(folder.path("picture.png"), "picture.png").media == MediaKind::audio);
    // With a picture that moves it is a video.
    if (container != std::string("matroska") && container != std::string("mp4")) continue;
    spec.video_s = 1;
    test::make_sound_file(folder.path("film"), spec);
    CHECK(probe_input(folder.path("film"), "film").media == MediaKind::video);
  }
  CHECK(probe_input(folder.write("speech.txt", amr_bytes()), "speech.txt").media == MediaKind::audio);
}

TEST_CASE("audio reader: a stop ends reading") {
  const MediaFolder folder;
  test::SoundFileSpec spec;
  spec.container = "wav";
  spec.tracks = {track("pcm_s16le", 16000, 1, 1, 0.5)};
  test::make_sound_file(folder.path("sound.wav"), spec);
  bool stop = false;
  AudioReader reader(folder.path("sound.wav"), {{}, [&] { return stop; }});
  std::vector<float> piece;
  REQUIRE(reader.next(piece));
  stop = true;
  CHECK_THROWS_AS(reader.next(piece), AudioReader::Interrupted);
}
