#include "stages/audio/split_audio.h"

#include <cmath>
#include <string>
#include <vector>

#include "stages/video/split_scenes.h"
#include "tests/stages/media_fixture.h"
#include "tests/support/catch.h"
#include "tests/support/sound_maker.h"

using namespace reelfolio;
using namespace reelfolio::stages;

namespace {

test::TrackSpec speech_like(double seconds, double chirp_s) {
  test::TrackSpec track;
  track.seconds = seconds;
  const auto chirp = test::chirp_at(chirp_s);
  track.sound = [chirp](double time_s, int channel) {
    // Words of 0.8 s with pauses of 0.2 s between.
    return std::fmod(time_s, 1.0) < 0.8 ? 0.05 * std::sin(1000 * time_s) + chirp(time_s, channel)
                                        : chirp(time_s, channel);
  };
  return track;
}

/// Scenes with these bounds, with a picture each if asked for, through one worker.
class SceneRun {
 public:
  SceneRun(const std::filesystem::path& path, const std::vector<double>& bounds, bool frames,
           const std::vector<std::pair<std::string, ParamValue>>& given = {}) {
    const StageType type = split_audio_type();
    Params params;
    for (const ParamSpec& spec : type.params) params.set(spec.name, spec.default_value);
    for (const auto& [name, value] : given) params.set(name, value);
    const auto stage = type.make_transform(params, {"sound", {}, {}});
    const auto worker = stage->make_worker();
    auto input = std::make_shared<InputFile>();
    input->path = path;
    input->media = MediaKind::video;
    for (std::size_t i = 0; i + 1 < bounds.size(); ++i) {
      auto unit = std::make_shared<Unit>();
      unit->producer = "scenes";
      unit->index = static_cast<int>(i);
      unit->start_s = bounds[i];
      unit->end_s = bounds[i + 1];
      Item item{input, unit, {}};
      if (frames) item.pictures.push_back({std::make_shared<engine::RgbImage>(), 70, bounds[i]});
      worker->process(item, out);
    }
    worker->end_input();
  }
  Collector out;
};

}  // namespace

TEST_CASE("split_audio: clips of a file are units that tile it, and a chirp keeps its time") {
  const MediaFolder folder;
  test::SoundFileSpec spec;
  spec.container = "matroska";
  spec.video_s = 1;
  spec.tracks = {speech_like(68, 47.3)};
  spec.tracks[0].start_s = 1.5;
  test::make_sound_file(folder.path("film.mkv"), spec);
  const Collector out = run_stage(split_audio_type(), folder.path("film.mkv"));
  REQUIRE(out.items.size() >= 3);
  CHECK(out.errors.empty());
  double expected_s = 0;
  bool found = false;
  for (std::size_t i = 0; i < out.items.size(); ++i) {
    const Item& item = out.items[i];
    CHECK(item.unit->kind == UnitKind::clip);
    CHECK(item.unit->index == static_cast<int>(i));
    CHECK(item.unit->producer == "made");
    CHECK(item.unit->start_s == Approx(expected_s));
    expected_s = item.unit->end_s;
    REQUIRE(item.sound);
    REQUIRE(item.sound->clips.size() == 1);
    const SoundClip& clip = item.sound->clips[0];
    CHECK(clip.start_s == item.unit->start_s);
    CHECK(clip.end_s() == Approx(item.unit->end_s));
    CHECK(clip.audio->duration_s() <= 30);
    if (48.8 > clip.start_s && 48.9 < clip.end_s()) {
      found = true;
      CHECK(std::abs(clip.start_s + test::find_chirp(clip.audio->samples) - 48.8) < 0.010);
    }
  }
  CHECK(found);
  CHECK(expected_s == Approx(69.5).margin(0.01));
}

TEST_CASE("split_audio: through edit lists and delays a chirp is in the clip of its time, to 10 ms") {
  struct Case {
    const char* container;
    const char* codec;
    double start_s;  ///< of the track; below 0: an edit list
  };
  for (const Case& each : {Case{"mp4", "aac", -2.5}, Case{"mov", "pcm_s16le", -2.5}, Case{"mp4", "aac", 3.7},
                           Case{"matroska", "libopus", 3.7}, Case{"mpegts", "aac", 3.7}}) {
    CAPTURE(each.container, each.codec, each.start_s);
    const MediaFolder folder;
    test::SoundFileSpec spec;
    spec.container = each.container;
    spec.video_s = 40;
    spec.tracks = {speech_like(44, 33.25)};
    spec.tracks[0].codec = each.codec;
    spec.tracks[0].rate = 48000;
    spec.tracks[0].start_s = each.start_s;
    test::make_sound_file(folder.path("film"), spec);
    const double expected_s = 33.25 + each.start_s;
    // In clips of their own, and in the clips of scenes whose borders lie around the chirp.
    const SceneRun scenes(folder.path("film"), {0, expected_s - 0.4, expected_s + 0.6, 60}, false);
    const Collector clips = run_stage(split_audio_type(), folder.path("film"));
    for (const std::vector<Item>* items : {&clips.items, &scenes.out.items}) {
      int found = 0;
      for (const Item& item : *items) {
        for (const SoundClip& clip : item.sound->clips) {
          if (expected_s < clip.start_s || expected_s + 0.05 > clip.end_s()) continue;
          ++found;
          CHECK(std::abs(clip.start_s + test::find_chirp(clip.audio->samples) - expected_s) < 0.010);
        }
      }
      CHECK(found == 1);
    }
  }
}

TEST_CASE("split_audio: a sound over its limit has clips up to there and an error") {
  const MediaFolder folder;
  test::SoundFileSpec spec;
  spec.container = "wav";
  spec.tracks = {speech_like(40, 1)};
  test::make_sound_file(folder.path("long.wav"), spec);
  const Collector out = run_stage(split_audio_type(), folder.path("long.wav"),
                                  {{"max_duration", 25.0}, {"max_clip", 10.0}, {"min_clip", 5.0}});
  REQUIRE_FALSE(out.items.empty());
  CHECK(out.items.back().unit->end_s == Approx(25));
  REQUIRE(out.errors.size() == 1);
  CHECK(out.errors[0].first == "audio.duration_limit");
  CHECK(run_stage(split_audio_type(), folder.path("long.wav"), {{"max_duration", 41.0}}).errors.empty());
}

TEST_CASE("split_audio: a video without sound gives one clip that says so") {
  const MediaFolder folder;
  test::SoundFileSpec spec;
  spec.video_s = 2;
  test::make_sound_file(folder.path("mute.mkv"), spec);
  const Collector out = run_stage(split_audio_type(), folder.path("mute.mkv"));
  REQUIRE(out.items.size() == 1);
  CHECK(out.errors.empty());
  CHECK(out.items[0].unit->end_s == Approx(2).margin(0.1));
  REQUIRE(out.items[0].sound);
  CHECK(out.items[0].sound->no_track);
  CHECK(out.items[0].sound->clips.empty());
}

TEST_CASE("split_audio: files without a sample are errors") {
  const MediaFolder folder;
  test::SoundFileSpec spec;
  spec.container = "wav";
  spec.tracks = {speech_like(1, 0)};
  test::make_sound_file(folder.path("one.wav"), spec);
  const std::string bytes = read_file(folder.path("one.wav"));
  const std::size_t data = bytes.find("data");
  std::string empty = bytes.substr(0, data + 4) + std::string(4, '\0');
  CHECK(error_code([&] { run_stage(split_audio_type(), folder.write("none.wav", empty)); }) ==
        "audio.no_samples");
  CHECK(error_code([&] { run_stage(split_audio_type(), folder.write("text", "text\n")); }) ==
        "audio.unreadable");
  CHECK(error_code([&] {
          run_stage(split_audio_type(), folder.path("one.wav"), {{"track", std::int64_t{2}}});
        }) == "audio.no_track");
}

TEST_CASE("split_audio: a track of no length is an error of the file, and silence in its scenes") {
  const MediaFolder folder;
  test::SoundFileSpec spec;
  spec.video_s = 2;
  spec.tracks = {speech_like(0, 0)};
  test::make_sound_file(folder.path("film.mkv"), spec);
  CHECK(error_code([&] { run_stage(split_audio_type(), folder.path("film.mkv")); }) == "audio.no_samples");
  const SceneRun run(folder.path("film.mkv"), {0, 1, 2}, false);
  CHECK(run.out.errors.empty());
  REQUIRE(run.out.items.size() == 2);
  CHECK(run.out.items[0].sound->clips.empty());
  CHECK_FALSE(run.out.items[0].sound->no_track);

  // MP4 has no place for such a track: FFmpeg sees none.
  spec.container = "mp4";
  spec.tracks[0].codec = "aac";
  test::make_sound_file(folder.path("film.mp4"), spec);
  const Collector mp4 = run_stage(split_audio_type(), folder.path("film.mp4"));
  REQUIRE(mp4.items.size() == 1);
  CHECK(mp4.items[0].sound->no_track);
}

TEST_CASE("split_audio: the sound of each scene goes with it, from its start to its end") {
  const MediaFolder folder;
  test::SoundFileSpec spec;
  spec.video_s = 1;
  spec.tracks = {speech_like(40, 13.25)};
  test::make_sound_file(folder.path("film.mkv"), spec);
  const SceneRun run(folder.path("film.mkv"), {0, 12.345, 14, 60, 70}, false, {{"max_clip", 12.0}});
  CHECK(run.out.errors.empty());
  std::vector<double> ends(4, -1);
  std::size_t silent = 0;
  for (const Item& item : run.out.items) {
    REQUIRE(item.sound);
    const auto scene = static_cast<std::size_t>(item.unit->index);
    if (item.sound->clips.empty()) {
      CHECK(scene == 3);  // it begins after the track has ended
      ++silent;
      continue;
    }
    REQUIRE(item.sound->clips.size() == 1);
    const SoundClip& clip = item.sound->clips[0];
    CHECK(clip.start_s == Approx(ends[scene] < 0 ? item.unit->start_s : ends[scene]).margin(1e-4));
    ends[scene] = clip.end_s();
    CHECK(clip.audio->duration_s() <= 12);
    if (scene == 1)
      CHECK(clip.start_s + test::find_chirp(clip.audio->samples) == Approx(13.25).margin(0.001));
  }
  CHECK(silent == 1);
  CHECK(ends[0] == Approx(12.345).margin(1e-4));
  CHECK(ends[1] == Approx(14).margin(1e-4));
  CHECK(ends[2] == Approx(40).margin(1e-3));
}

TEST_CASE("split_audio: a scene with frames is handed on once, with its first seconds of sound") {
  const MediaFolder folder;
  test::SoundFileSpec spec;
  spec.video_s = 1;
  spec.tracks = {speech_like(50, 1)};
  test::make_sound_file(folder.path("film.mkv"), spec);
  const SceneRun run(folder.path("film.mkv"), {0, 45, 50}, true, {{"max_heard", 40.0}});
  REQUIRE(run.out.items.size() == 2);
  REQUIRE(run.out.errors.size() == 1);  // of the first scene
  CHECK(run.out.errors[0].first == "audio.left_out");
  CHECK(run.out.items[0].pictures.size() == 1);
  REQUIRE(run.out.items[0].sound->clips.size() == 2);
  CHECK(run.out.items[0].sound->clips[1].end_s() == Approx(40));
  REQUIRE(run.out.items[1].sound->clips.size() == 1);
  CHECK(run.out.items[1].sound->clips[0].start_s == Approx(45));
}

TEST_CASE("split_audio: scenes of a video without sound say so, errors of the file are reported once") {
  const MediaFolder folder;
  test::SoundFileSpec spec;
  spec.video_s = 2;
  test::make_sound_file(folder.path("mute.mkv"), spec);
  const SceneRun mute(folder.path("mute.mkv"), {0, 1, 2}, false);
  REQUIRE(mute.out.items.size() == 2);
  CHECK(mute.out.items[1].sound->no_track);

  spec.tracks = {speech_like(2, 1)};
  test::make_sound_file(folder.path("film.mkv"), spec);
  for (const bool frames : {false, true}) {
    const SceneRun wrong(folder.path("film.mkv"), {0, 1, 2}, frames, {{"track", std::int64_t{3}}});
    REQUIRE(wrong.out.errors.size() == 1);
    CHECK(wrong.out.errors[0].first == "audio.no_track");
    CHECK(wrong.out.items.size() == (frames ? 2 : 0));
  }
}

TEST_CASE("split_audio: what it gives depends on what it receives") {
  const StageType type = split_audio_type();
  CHECK(type.gives({ItemType::video, ItemType::sound}) == std::vector<ItemType>{ItemType::clip});
  CHECK(type.gives({ItemType::scene}) == std::vector<ItemType>{ItemType::heard_scene});
  CHECK(type.gives({ItemType::frames}) == std::vector<ItemType>{ItemType::heard_frames});
}

TEST_CASE("split_audio: parameters that cannot work are refused") {
  const auto make = [](std::vector<std::pair<std::string, ParamValue>> given) {
    const StageType type = split_audio_type();
    Params params;
    for (const ParamSpec& spec : type.params) params.set(spec.name, spec.default_value);
    for (auto& [name, value] : given) params.set(name, std::move(value));
    try {
      type.make_transform(params, {"sound", {}, {}});
    } catch (const ParamError& error) {
      return error.param();
    }
    return std::string();
  };
  CHECK(make({{"max_clip", 5.0}}) == "min_clip");
  CHECK(make({{"track", std::int64_t{1}}, {"track_language", std::vector<std::string>{"de"}}}) ==
        "track_language");
  CHECK(make({{"max_clip", 12.0}, {"min_clip", 12.0}}).empty());
}
