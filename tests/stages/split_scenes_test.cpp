#include "stages/video/split_scenes.h"

#include <algorithm>
#include <tuple>

#include "tests/stages/video_fixture.h"
#include "tests/support/catch.h"
#include "tests/support/video_maker.h"

using namespace reelfolio::stages;
using namespace reelfolio::test;

namespace {

using Values = std::vector<std::pair<std::string, ParamValue>>;

void split(const std::filesystem::path& path, const Values& values, Collector& out) {
  const StageType type = split_scenes_type();
  make_transform(type, values)->make_worker()->process(input_item(path), out);
}

/// A new colour every 25 frames.
void paint_scenes(AVFrame& frame, int i) {
  const int scene = i / 25;
  fill(frame, scene % 2 == 0 ? 60 : 180, 100 + 20 * (scene % 3), 160 - 20 * (scene % 3));
  fill(frame, 0, 8 + i % 25, 120, 128, 128);
}

void check_tiling(const std::vector<Item>& items, double start_s, double end_s) {
  REQUIRE_FALSE(items.empty());
  CHECK(items.front().unit->start_s == Approx(start_s).margin(1e-3));
  CHECK(items.back().unit->end_s == Approx(end_s).margin(1e-3));
  for (std::size_t i = 0; i < items.size(); ++i) {
    CHECK(items[i].unit->index == static_cast<int>(i));
    CHECK(items[i].unit->kind == UnitKind::scene);
    CHECK(items[i].unit->producer == "scenes");
    if (i > 0) CHECK(items[i].unit->start_s == items[i - 1].unit->end_s);
  }
}

}  // namespace

TEST_CASE("split_scenes: scenes start where the picture changes, and tile the video") {
  const TempFile file(".mkv");
  make_video(file.path(), {}, 100, paint_scenes);
  for (const char* detector : {"adaptive", "content", "histogram"}) {
    INFO(detector);
    Collector out;
    split(file.path(), {{"detector", std::string(detector)}}, out);
    CHECK(out.codes.empty());
    check_tiling(out.items, 0, 4);
    REQUIRE(out.items.size() == 4);
    for (std::size_t i = 0; i < 4; ++i)
      CHECK(out.items[i].unit->start_s == Approx(static_cast<double>(i)).margin(1e-3));
  }
}

TEST_CASE("split_scenes: a rotated, a ten-bit, an odd-sized and a packed video give the same cuts") {
  std::vector<VideoSpec> specs(4);
  specs[0].container = "mp4";
  specs[0].codec = "mpeg4";
  specs[0].rotation = 90;
  specs[1].format = AV_PIX_FMT_YUV420P10;
  specs[2].width = 301;
  specs[2].height = 211;
  specs[3].format = AV_PIX_FMT_YUV444P;
  for (const VideoSpec& spec : specs) {
    const TempFile file(".video");
    make_video(file.path(), spec, 75, [&](AVFrame& f, int i) {
      if (spec.format != AV_PIX_FMT_YUV420P10) return paint_scenes(f, i);
      fill(f, i / 25 % 2 == 0 ? 240 : 720, 480, 560);
    });
    Collector out;
    split(file.path(), {}, out);
    REQUIRE(out.items.size() == 3);
    CHECK(out.items[1].unit->start_s == Approx(1).margin(1e-3));
    CHECK(out.items[2].unit->start_s == Approx(2).margin(1e-3));
  }
}

TEST_CASE("split_scenes: with a variable frame rate cuts are at the frame's own time") {
  VideoSpec spec;
  spec.time_ms = [](int i) { return i < 25 ? i * 40 : 1000 + (i - 25) * 100; };
  const TempFile file(".mkv");
  make_video(file.path(), spec, 75, paint_scenes);
  Collector out;
  split(file.path(), {}, out);
  REQUIRE(out.items.size() == 3);
  CHECK(out.items[1].unit->start_s == Approx(1.0).margin(2e-3));
  CHECK(out.items[2].unit->start_s == Approx(3.5).margin(2e-3));
}

TEST_CASE("split_scenes: a fade through black is cut in its middle") {
  const TempFile file(".mkv");
  make_video(file.path(), {}, 100, [](AVFrame& f, int i) {
    const int dark = std::max(0, 20 - std::abs(i - 50));  // black for an instant at frame 50
    fill(f, 150 - std::min(134, dark * 134 / 15), 128, 128);
  });
  Collector out;
  split(file.path(), {{"detector", std::string("threshold")}}, out);
  REQUIRE(out.items.size() == 2);
  CHECK(out.items[1].unit->start_s == Approx(2.0).margin(0.041));
}

TEST_CASE("split_scenes: a scene goes on before the rest of the video is read") {
  const TempFile file(".mkv");
  make_video(file.path(), {}, 100, paint_scenes);
  Collector out;
  out.stop_after = 1;
  CHECK_THROWS_AS(split(file.path(), {}, out), Cancelled);
  REQUIRE(out.items.size() == 1);
  CHECK(out.items[0].unit->end_s == Approx(1.0).margin(1e-3));
}

TEST_CASE("split_scenes: start, end and the longest scene are kept to") {
  const TempFile file(".mkv");
  make_video(file.path(), {}, 100, [](AVFrame& f, int) { fill(f, 100, 128, 128); });
  Collector out;
  split(file.path(), {{"start", 0.5}, {"end", 3.5}, {"max_scene", 1.0}}, out);
  check_tiling(out.items, 0.48, 3.52);
  CHECK(out.items.size() >= 3);
  for (const Item& item : out.items) CHECK(item.unit->end_s - item.unit->start_s <= 1.041);
}

TEST_CASE("split_scenes: a video over its limits gives what comes before them and says so") {
  const TempFile file(".mkv");
  make_video(file.path(), {}, 100, paint_scenes);
  for (const auto& [name, value, code] :
       {std::tuple<std::string, ParamValue, std::string>{"max_frames", std::int64_t{60}, "video.frame_limit"},
        {"max_duration", 2.4, "video.duration_limit"}}) {
    Collector out;
    split(file.path(), {{name, value}}, out);
    check_tiling(out.items, 0, 2.4);
    CHECK(out.items.size() == 3);
    CHECK(out.codes == std::vector<std::string>{code});
  }
  Collector whole;
  split(file.path(), {{"max_frames", std::int64_t{100}}, {"max_duration", 4.0}}, whole);
  check_tiling(whole.items, 0, 4.0);
  CHECK(whole.codes.empty());
}

TEST_CASE("split_scenes: a truncated video gives what it has and says so") {
  const TempFile file(".mkv");
  make_video(file.path(), {}, 100, paint_scenes);
  const std::string bytes = file.read();
  file.write(bytes.substr(0, bytes.size() * 6 / 10));
  Collector out;
  split(file.path(), {}, out);
  CHECK(out.codes == std::vector<std::string>{"video.truncated"});
  REQUIRE(out.items.size() >= 2);
  CHECK(out.items.back().unit->end_s < 3.5);
}

TEST_CASE("split_scenes: a damaged video gives what it has and says so") {
  const TempFile file(".mp4");
  VideoSpec spec;
  spec.container = "mp4";
  spec.codec = "mpeg4";
  make_video(file.path(), spec, 100, paint_scenes);
  std::string bytes = file.read();
  const std::size_t data = bytes.find("mdat");
  REQUIRE(data != std::string::npos);
  // Beyond the first frames; the tables that follow the data stay whole.
  std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(data) + 2000, 400, '\xff');
  file.write(bytes);
  Collector out;
  split(file.path(), {}, out);
  CHECK(out.codes == std::vector<std::string>{"video.corrupt"});
  check_tiling(out.items, 0, 4);
}

TEST_CASE("split_scenes: a video without frames is an error of its own") {
  const TempFile file(".mp4");
  VideoSpec spec;
  spec.container = "mp4";
  spec.codec = "mpeg4";
  make_video(file.path(), spec, 0, [](AVFrame&, int) {});
  Collector out;
  std::string code;
  try {
    split(file.path(), {}, out);
  } catch (const ItemError& error) {
    code = error.code();
  }
  INFO(code);
  CHECK((code == "video.no_frames" || code == "video.no_stream"));
  CHECK(out.items.empty());
}

TEST_CASE("split_scenes: parameters that cannot work are named") {
  const StageType type = split_scenes_type();
  const auto param_of = [&](const Values& values) {
    try {
      make_transform(type, values);
    } catch (const ParamError& error) {
      return error.param();
    }
    return std::string("none");
  };
  CHECK(param_of({}) == "none");
  CHECK(param_of({{"detector", std::string("hash")}, {"threshold", 27.0}}) == "threshold");
  CHECK(param_of({{"start", 5.0}, {"end", 5.0}}) == "end");
  CHECK(param_of({{"edge_kernel", std::int64_t{4}}}) == "edge_kernel");
  CHECK(param_of({{"hash_size", std::int64_t{7}}, {"hash_lowpass", std::int64_t{3}}}) == "hash_lowpass");
}
