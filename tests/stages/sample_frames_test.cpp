#include "stages/video/sample_frames.h"

#include "engine/vision/preprocess.h"
#include "stages/video/frame_quality.h"
#include "tests/stages/video_fixture.h"
#include "tests/support/catch.h"
#include "tests/support/video_maker.h"

using namespace reelfolio::stages;
using namespace reelfolio::test;

namespace {

using Values = std::vector<std::pair<std::string, ParamValue>>;

Item scene_of(const std::filesystem::path& path, double start_s, double end_s) {
  Item item = input_item(path);
  auto unit = std::make_shared<Unit>();
  unit->start_s = start_s;
  unit->end_s = end_s;
  item.unit = unit;
  return item;
}

std::vector<double> times_of(const Item& item) {
  std::vector<double> times;
  for (const Picture& picture : item.pictures) times.push_back(*picture.time_s);
  return times;
}

Item sample(const std::filesystem::path& path, double start_s, double end_s, const Values& values = {}) {
  const StageType type = sample_frames_type();
  Collector out;
  make_transform(type, values)->make_worker()->process(scene_of(path, start_s, end_s), out);
  REQUIRE(out.items.size() == 1);
  return out.items[0];
}

int mean_of(const Picture& picture) {
  long sum = 0;
  for (const std::uint8_t v : picture.image->pixels) sum += v;
  return static_cast<int>(sum / static_cast<long>(picture.image->pixels.size()));
}

}  // namespace

TEST_CASE("sample_frames: frames are spread evenly, and each is of the scene") {
  const TempFile file(".mkv");
  make_video(file.path(), {}, 100, [](AVFrame& f, int i) { stripes(f, i); });
  const Item item = sample(file.path(), 1.0, 3.0, {{"per_scene", std::int64_t{4}}});
  const std::vector<double> expected{1.24, 1.72, 2.24, 2.72};
  REQUIRE(item.pictures.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) CHECK(*item.pictures[i].time_s == Approx(expected[i]).margin(0.0401));
  CHECK(item.pictures[0].soft_tokens == 70);
  CHECK(item.pictures[0].image->width == 64);
}

TEST_CASE("sample_frames: a scene of fewer frames than asked for gives each once") {
  const TempFile file(".mkv");
  make_video(file.path(), {}, 50, [](AVFrame& f, int i) { stripes(f, i); });
  const std::vector<double> times =
      times_of(sample(file.path(), 1.0, 1.12, {{"per_scene", std::int64_t{8}}}));
  REQUIRE(times.size() == 3);
  for (std::size_t i = 0; i < 3; ++i)
    CHECK(times[i] == Approx(1.0 + 0.04 * static_cast<double>(i)).margin(1e-3));
}

TEST_CASE("sample_frames: a black frame gives way to a near one, and is taken if there is no other") {
  const TempFile file(".mkv");
  make_video(file.path(), {}, 100, [](AVFrame& f, int i) {
    if (i >= 40 && i < 60) return fill(f, 16, 128, 128);
    if (i >= 90) return fill(f, 16, 128, 128);
    stripes(f, 0);
  });
  // The middle of 0..4 s is black from 1.6 to 2.4 s.
  const Item item = sample(file.path(), 0, 3.96);
  REQUIRE(item.pictures.size() == 1);
  CHECK(mean_of(item.pictures[0]) > 50);
  CHECK(*item.pictures[0].time_s == Approx(1.56).margin(0.0401));
  const Item black = sample(file.path(), 3.64, 4.0);
  REQUIRE(black.pictures.size() == 1);
  CHECK(mean_of(black.pictures[0]) < 5);
}

TEST_CASE("sample_frames: a frame in the midst of a dissolve gives way to a near one") {
  const TempFile file(".mkv");
  // Left half bright dissolves to right half bright over frames 40..60.
  make_video(file.path(), {}, 100, [](AVFrame& f, int i) {
    const int mix = std::clamp((i - 40) * 5, 0, 100);
    fill(f, 0, 32, 220 - mix * 2, 128, 128);
    fill(f, 32, 64, 20 + mix * 2, 128, 128);
  });
  for (const char* pick : {"even", "sharp"}) {
    const Item item = sample(file.path(), 0, 4.0, {{"pick", std::string(pick)}});
    REQUIRE(item.pictures.size() == 1);
    const double time = *item.pictures[0].time_s;
    INFO(pick << " took " << time);
    CHECK((time < 1.75 || time > 2.25));
  }
}

TEST_CASE("sample_frames: sharp takes the sharpest near the place") {
  const TempFile file(".mkv");
  make_video(file.path(), {}, 50, [](AVFrame& f, int i) {
    fill(f, 100, 128, 128);
    fill(f, 0, 20, 130, 128, 128);
    if (i == 31) stripes(f, 0);
  });
  const Item item = sample(file.path(), 0, 2, {{"pick", std::string("sharp")}});
  REQUIRE(item.pictures.size() == 1);
  CHECK(*item.pictures[0].time_s == Approx(1.24).margin(1e-3));
}

TEST_CASE("sample_frames: uniform takes the frames that the model's release takes, black or not") {
  const TempFile file(".mkv");
  make_video(file.path(), {}, 100, [](AVFrame& f, int i) {
    if (i % 3 == 0) return fill(f, 16, 128, 128);
    stripes(f, i);
  });
  for (const int frames : {80, 45, 32, 12}) {
    CAPTURE(frames);
    const Item item = sample(file.path(), 0.4, 0.4 + frames * 0.04,
                             {{"pick", std::string("uniform")}, {"per_scene", std::int64_t{32}}});
    const auto wanted = reelfolio::engine::vision::sampled_frames(static_cast<std::size_t>(frames), 32);
    REQUIRE(item.pictures.size() == wanted.size());
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      CHECK(*item.pictures[i].time_s == Approx(0.4 + 0.04 * static_cast<double>(wanted[i])).margin(1e-3));
    }
  }
}

TEST_CASE("sample_frames: one worker serves scene after scene, in any order") {
  const TempFile file(".mp4");
  VideoSpec spec;
  spec.container = "mp4";
  spec.codec = "mpeg4";
  spec.b_frames = 2;
  make_video(file.path(), spec, 200, [](AVFrame& f, int i) {
    stripes(f, 0);
    fill(f, 0, 32, 20 + i / 2, 128, 128);
  });
  const StageType type = sample_frames_type();
  const auto transform = make_transform(type);
  const auto worker = transform->make_worker();
  Item item = scene_of(file.path(), 0, 1);
  for (const double start : {0.0, 1.0, 6.0, 7.0, 2.0}) {
    Collector out;
    auto unit = std::make_shared<Unit>();
    unit->start_s = start;
    unit->end_s = start + 1;
    item.unit = unit;
    worker->process(item, out);
    REQUIRE(out.items.size() == 1);
    const Picture& picture = out.items[0].pictures.at(0);
    CHECK(*picture.time_s == Approx(start + 0.48).margin(1e-3));
    const int frame = static_cast<int>(*picture.time_s * 25 + 0.5);
    const int expected = (20 + frame / 2 - 16) * 255 / 219;
    CHECK(std::abs(picture.image->row(24)[3 * 16] - expected) <= 8);
  }
  worker->end_input();
}

TEST_CASE("sample_frames: pictures keep their size up to 1920 pixels, and what the budget can show") {
  CHECK(handed_over_size({1920, 1080}, 70).width == 1920);
  CHECK(handed_over_size({640, 480}, 1120).width == 640);
  const PictureSize uhd = handed_over_size({3840, 2160}, 70);
  CHECK(uhd.width == 1920);
  CHECK(uhd.height == 1080);
  const PictureSize large = handed_over_size({3840, 2160}, 1120);
  CHECK(large.width * large.height >= 1120 * 48 * 48);
  CHECK(large.width < 3840);
}

TEST_CASE("sample_frames: a moving picture and a cut are no mixtures") {
  const auto look = [](int edge) {
    BgrFrame frame{64, 16, std::vector<std::uint8_t>(64 * 16 * 3, 20)};
    for (int y = 0; y < 16; ++y) {
      for (int x = 0; x < edge * 3; ++x) frame.pixels[static_cast<std::size_t>(y * 64 * 3 + x)] = 220;
    }
    return look_at(frame, 0);
  };
  CHECK_FALSE(is_mixture(look(10), look(20), look(30)));
  CHECK_FALSE(is_mixture(look(10), look(10), look(60)));
  CHECK(is_blank(look(0)));
  CHECK_FALSE(is_blank(look(10)));
}
