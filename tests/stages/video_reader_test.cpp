#include "stages/video/video_reader.h"

#include <cmath>
#include <string>
#include <vector>

#include "tests/support/catch.h"
#include "tests/support/video_maker.h"

using namespace reelfolio;
using namespace reelfolio::stages;
using namespace reelfolio::test;

namespace {

std::vector<double> times_of(const std::filesystem::path& path) {
  VideoReader reader(path);
  std::vector<double> times;
  while (reader.next()) times.push_back(reader.time_s());
  return times;
}

engine::RgbImage first_picture(const VideoSpec& spec, const std::function<void(AVFrame&, int)>& paint,
                               int frames = 1) {
  const TempFile file(".video");
  make_video(file.path(), spec, frames, paint);
  VideoReader reader(file.path());
  REQUIRE(reader.next());
  const HeldFrame held = reader.hold();
  return held.picture(held.size());
}

void check_pixel(const engine::RgbImage& image, int x, int y, int r, int g, int b, int tolerance = 4) {
  const std::uint8_t* p = image.row(y) + static_cast<std::ptrdiff_t>(x) * 3;
  INFO("pixel " << x << "," << y << " is " << int{p[0]} << " " << int{p[1]} << " " << int{p[2]}
                << ", expected " << r << " " << g << " " << b);
  CHECK(std::abs(p[0] - r) <= tolerance);
  CHECK(std::abs(p[1] - g) <= tolerance);
  CHECK(std::abs(p[2] - b) <= tolerance);
}

std::string code_of(const std::filesystem::path& path) {
  try {
    VideoReader reader(path);
    return reader.next() ? "opened" : "video.no_frames";
  } catch (const ItemError& error) {
    return error.code();
  }
}

void paint_grey(AVFrame& frame, int i) {
  fill(frame, 60 + i % 100, 128, 128);
}

}  // namespace

TEST_CASE("video_reader: times come from timestamps, at a variable rate too") {
  const std::vector<std::int64_t> ms{0, 40, 100, 1100, 1140, 2000};
  VideoSpec spec;
  spec.time_ms = [&](int i) { return ms[static_cast<std::size_t>(i)]; };
  const TempFile file(".mkv");
  make_video(file.path(), spec, 6, paint_grey);
  const std::vector<double> times = times_of(file.path());
  REQUIRE(times.size() == ms.size());
  for (std::size_t i = 0; i < ms.size(); ++i)
    CHECK(times[i] == Approx(static_cast<double>(ms[i]) / 1000).margin(1e-6));
}

TEST_CASE("video_reader: a clock that starts late is counted from the start of the file") {
  VideoSpec spec;
  spec.container = "mpegts";
  spec.codec = "mpeg4";
  spec.time_ms = [](int i) { return 500'000 + i * 40; };
  const TempFile file(".ts");
  make_video(file.path(), spec, 8, paint_grey);
  const std::vector<double> times = times_of(file.path());
  REQUIRE(times.size() == 8);
  for (std::size_t i = 0; i < 8; ++i) CHECK(times[i] == Approx(0.04 * static_cast<double>(i)).margin(1e-3));
}

TEST_CASE("video_reader: reordered frames come in order of presentation, the last one has an end") {
  VideoSpec spec;
  spec.container = "mp4";
  spec.codec = "mpeg4";
  spec.b_frames = 2;
  const TempFile file(".mp4");
  make_video(file.path(), spec, 25, paint_grey);
  VideoReader reader(file.path());
  int count = 0;
  while (reader.next()) {
    CHECK(reader.time_s() == Approx(count * 0.04).margin(1e-4));
    ++count;
  }
  CHECK(count == 25);
  CHECK(reader.end_s() == Approx(1.0).margin(1e-3));
  CHECK(reader.problems().empty());
}

TEST_CASE("video_reader: frames without timestamps are counted at the stream's rate") {
  VideoSpec spec;
  spec.container = "m4v";
  spec.codec = "mpeg4";
  const TempFile file(".m4v");
  make_video(file.path(), spec, 12, paint_grey);
  const std::vector<double> times = times_of(file.path());
  REQUIRE(times.size() == 12);
  for (std::size_t i = 1; i < times.size(); ++i) CHECK(times[i] - times[i - 1] == Approx(0.04).margin(2e-3));
}

TEST_CASE("video_reader: an edit list leaves out what it leaves out") {
  VideoSpec spec;
  spec.container = "mp4";
  spec.codec = "mpeg4";
  const TempFile file(".mp4");
  make_video(file.path(), spec, 25, [](AVFrame& f, int i) { fill(f, i < 10 ? 60 : 180, 128, 128); });
  std::string bytes = file.read();
  // media_time stands behind version, flags, count and segment_duration of the list's one entry.
  const std::size_t list = bytes.find("elst");
  REQUIRE(list != std::string::npos);
  REQUIRE(bytes.substr(list + 4, 8) == std::string("\0\0\0\0\0\0\0\1", 8));
  const std::size_t header = bytes.find("mdhd");
  REQUIRE(header != std::string::npos);
  const auto byte = [&](std::size_t at) { return std::uint32_t{static_cast<unsigned char>(bytes[at])}; };
  const std::uint32_t timescale =
      byte(header + 16) << 24U | byte(header + 17) << 16U | byte(header + 18) << 8U | byte(header + 19);
  const std::uint32_t skipped = timescale * 10 / 25;
  for (std::size_t i = 0; i < 4; ++i) {
    bytes[list + 16 + i] = static_cast<char>(skipped >> (24 - 8 * i) & 255U);
  }
  file.write(bytes);
  VideoReader reader(file.path());
  REQUIRE(reader.next());
  CHECK(reader.time_s() == Approx(0).margin(1e-3));
  const HeldFrame first = reader.hold();
  check_pixel(first.picture(first.size()), 5, 5, 191, 191, 191, 8);  // the eleventh frame
  int frames = 1;
  while (reader.next()) CHECK(reader.time_s() == Approx(0.04 * frames++).margin(1e-3));
  CHECK(frames == 15);
}

TEST_CASE("video_reader: timestamps below zero are counted from the first") {
  VideoSpec spec;
  spec.container = "nut";
  spec.codec = "mpeg4";
  spec.time_ms = [](int i) { return -400 + i * 40; };
  const TempFile file(".nut");
  make_video(file.path(), spec, 20, paint_grey);
  const std::vector<double> times = times_of(file.path());
  REQUIRE(times.size() == 20);
  for (std::size_t i = 0; i < 20; ++i) CHECK(times[i] == Approx(0.04 * static_cast<double>(i)).margin(2e-3));
}

TEST_CASE("video_reader: broadcasts joined end to end go on in time") {
  VideoSpec spec;
  spec.container = "mpegts";
  spec.codec = "mpeg4";
  const TempFile one(".ts"), other(".ts"), both(".ts");
  spec.time_ms = [](int i) { return 60'000 + i * 40; };
  make_video(one.path(), spec, 25, paint_grey);
  spec.time_ms = [](int i) { return 5'000 + i * 40; };
  make_video(other.path(), spec, 25, paint_grey);
  both.write(one.read() + other.read());
  const std::vector<double> times = times_of(both.path());
  CHECK(times.size() >= 48);  // the last frame before the joint may lack its end
  for (std::size_t i = 1; i < times.size(); ++i) {
    CHECK(times[i] > times[i - 1]);
    CHECK(times[i] - times[i - 1] < 0.2);
  }
}

TEST_CASE("video_reader: bytes behind the end of an MP4 file change nothing") {
  VideoSpec spec;
  spec.container = "mp4";
  spec.codec = "mpeg4";
  const TempFile file(".mp4");
  make_video(file.path(), spec, 25, paint_grey);
  file.write(file.read() + file.read());
  const std::vector<double> times = times_of(file.path());
  REQUIRE(times.size() == 25);
  CHECK(times.back() == Approx(0.96).margin(1e-3));
}

TEST_CASE("video_reader: a file that grows after it was opened ends where it ended") {
  VideoSpec spec;
  spec.container = "mpegts";
  spec.codec = "mpeg4";
  const TempFile file(".ts");
  make_video(file.path(), spec, 50, paint_grey);
  const std::string bytes = file.read();
  file.write(bytes.substr(0, bytes.size() / 188 / 2 * 188));
  VideoReader reader(file.path());
  REQUIRE(reader.next());
  file.write(bytes);
  int frames = 1;
  while (reader.next()) ++frames;
  CHECK(frames < 40);
}

TEST_CASE("video_reader: move_to finds the frame on screen, forwards and backwards") {
  VideoSpec spec;
  spec.container = "mp4";
  spec.codec = "mpeg4";
  spec.b_frames = 2;
  const TempFile file(".mp4");
  make_video(file.path(), spec, 150, [](AVFrame& f, int i) { fill(f, 20 + i, 128, 128); });
  // What a decoder hands out depends on its threads, which depend on the machine.
  const int threads = GENERATE(0, 1, 2);
  VideoReaderOptions options;
  options.threads = threads;
  VideoReader reader(file.path(), std::move(options));
  for (const double time : {0.0, 1.0, 3.01, 5.5, 2.03, 0.5, 5.99, 100.0, 0.0}) {
    INFO(threads << " threads, " << time);
    REQUIRE(reader.move_to(time));
    const int frame = std::min(149, static_cast<int>(std::floor(time * 25 + 1e-6)));
    CHECK(reader.time_s() == Approx(frame / 25.0).margin(1e-4));
    const HeldFrame held = reader.hold();
    const int grey = static_cast<int>(std::lround((20 + frame - 16) * 255.0 / 219));
    check_pixel(held.picture(held.size()), 32, 24, grey, grey, grey, 5);
  }
}

TEST_CASE("video_reader: rotation turns the picture clockwise") {
  VideoSpec spec;
  spec.container = "mp4";
  spec.codec = "mpeg4";
  const auto left_is_white = [](AVFrame& f, int) {
    fill(f, 16, 128, 128);
    fill(f, 0, 32, 235, 128, 128);
  };
  // av_display_rotation_set counts counter-clockwise.
  spec.rotation = -90;
  const engine::RgbImage turned = first_picture(spec, left_is_white);
  CHECK(turned.width == 48);
  CHECK(turned.height == 64);
  const int top = turned.row(8)[24 * 3];
  const int bottom = turned.row(56)[24 * 3];
  CHECK(std::abs(top - bottom) > 200);
  spec.rotation = 180;
  const engine::RgbImage half = first_picture(spec, left_is_white);
  CHECK(half.width == 64);
  check_pixel(half, 8, 24, 0, 0, 0, 12);
  check_pixel(half, 56, 24, 255, 255, 255, 12);
}

TEST_CASE("video_reader: display matrices become transpositions and mirrors") {
  const std::int32_t one = 1 << 16;
  const std::int32_t quarter_turn[9] = {0, one, 0, -one, 0, 0, 0, 0, 1 << 30};
  const Orientation o = orientation_of(quarter_turn);  // (x, y) -> (-y, x): clockwise, with y downwards
  CHECK(o.transpose);
  CHECK(o.mirror_x);
  CHECK_FALSE(o.mirror_y);
  const std::int32_t mirror[9] = {-one, 0, 0, 0, one, 0, 0, 0, 1 << 30};
  CHECK(orientation_of(mirror).mirror_x);
  CHECK_FALSE(orientation_of(mirror).transpose);
}

TEST_CASE("video_reader: pixels that are not square are made so") {
  VideoSpec spec;
  spec.pixel_aspect = {2, 1};
  CHECK(first_picture(spec, paint_grey).width == 128);
  spec.pixel_aspect = {1, 2};
  const engine::RgbImage tall = first_picture(spec, paint_grey);
  CHECK(tall.width == 64);
  CHECK(tall.height == 96);
}

TEST_CASE("video_reader: colours follow the tagged matrix and range, at odd sizes and ten bits") {
  VideoSpec spec;
  spec.matrix = AVCOL_SPC_BT709;
  spec.width = 63;
  spec.height = 47;
  const auto red709 = [](AVFrame& f, int) { fill(f, 63, 102, 240); };
  const engine::RgbImage odd = first_picture(spec, red709);
  CHECK(odd.width == 63);
  CHECK(odd.height == 47);
  check_pixel(odd, 62, 46, 255, 0, 0);
  spec.matrix = AVCOL_SPC_SMPTE170M;
  check_pixel(first_picture(spec, [](AVFrame& f, int) { fill(f, 81, 90, 240); }), 31, 23, 255, 0, 0);
  spec.range = AVCOL_RANGE_JPEG;
  check_pixel(first_picture(spec, [](AVFrame& f, int) { fill(f, 76, 85, 255); }), 31, 23, 255, 0, 0);
  spec.range = AVCOL_RANGE_MPEG;
  spec.matrix = AVCOL_SPC_BT709;
  spec.format = AV_PIX_FMT_YUV420P10;
  check_pixel(first_picture(spec, [](AVFrame& f, int) { fill(f, 63 * 4, 102 * 4, 240 * 4); }), 31, 23, 255, 0,
              0);
}

TEST_CASE("video_reader: PQ and HLG are tone-mapped, by the transfer tag alone") {
  VideoSpec spec;
  spec.format = AV_PIX_FMT_YUV420P10;
  spec.width = 63;
  spec.height = 47;
  spec.matrix = AVCOL_SPC_BT2020_NCL;
  spec.transfer = AVCOL_TRC_SMPTE2084;
  // Diffuse white, 203 nits, is 58 % of the PQ range: as coded it would be the grey 148.
  const auto white = [](AVFrame& f, int) { fill(f, 64 + static_cast<int>(0.5807 * 876), 512, 512); };
  const engine::RgbImage pq = first_picture(spec, white);
  const int level = pq.row(20)[60];
  INFO("PQ white comes out at " << level);
  CHECK(level > 195);
  CHECK(level < 250);
  check_pixel(pq, 20, 20, level, level, level, 1);
  spec.transfer = AVCOL_TRC_ARIB_STD_B67;
  const auto hlg_white = [](AVFrame& f, int) { fill(f, 64 + static_cast<int>(0.75 * 876), 512, 512); };
  const int hlg = first_picture(spec, hlg_white).row(20)[60];
  INFO("HLG white comes out at " << hlg);
  CHECK(std::abs(hlg - level) <= 4);
  check_pixel(first_picture(spec, [](AVFrame& f, int) { fill(f, 64, 512, 512); }), 20, 20, 0, 0, 0, 1);
}

TEST_CASE("video_reader: fields of an interlaced frame are taken apart") {
  // A bar moves; its two fields show two places, so that the woven frame has a comb.
  const auto comb = [](AVFrame& f, int i) {
    fill(f, 16, 128, 128);
    for (int y = 0; y < f.height; ++y) {
      std::uint8_t* row = f.data[0] + static_cast<std::ptrdiff_t>(y) * f.linesize[0];
      const int start = 8 * i + (y % 2 == 0 ? 0 : 4) + 8;
      for (int x = start; x < std::min(start + 16, f.width); ++x) row[x] = 235;
    }
  };
  VideoSpec spec;
  spec.container = "mp4";
  spec.codec = "mpeg4";
  const auto jumps = [&](bool interlaced) {
    spec.interlaced = interlaced;
    const TempFile file(".mp4");
    make_video(file.path(), spec, 4, comb);
    VideoReader reader(file.path());
    REQUIRE(reader.next());
    REQUIRE(reader.next());
    const HeldFrame held = reader.hold();
    const engine::RgbImage image = held.picture(held.size());
    int total = 0;
    for (int y = 9; y < 40; ++y) {
      for (int x = 0; x < 64; ++x)
        total += std::abs(image.row(y)[3 * x] - image.row(y - 1)[3 * x]) > 100 ? 1 : 0;
    }
    return total;
  };
  const int woven = jumps(false);
  const int apart = jumps(true);
  INFO(woven << " jumps between lines woven, " << apart << " apart");
  CHECK(woven > 150);
  CHECK(apart < woven / 4);
}

TEST_CASE("video_reader: files that are no video say why") {
  const TempFile file(".bin");
  CHECK(code_of(file.path()) == "input.unreadable");
  file.write("");
  CHECK(code_of(file.path()) == "video.unreadable");
  file.write(std::string(5000, 'x'));
  CHECK(code_of(file.path()) == "video.unreadable");
  // Sound alone: a WAV file of silence.
  std::string wav(
      "RIFF\x24\x20\x00\x00WAVEfmt "
      "\x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x80\x3e\x00\x00\x02\x00\x10\x00"
      "data\x00\x20\x00\x00",
      44);
  file.write(wav + std::string(8192, '\0'));
  CHECK(code_of(file.path()) == "video.no_stream");
  // Sound with a cover picture: an ID3v2.3 tag before frames of silence.
  const std::string apic =
      std::string("\0image/jpeg\0\3\0", 14) + "\xff\xd8\xff\xd9" + std::string(100, '\0');
  std::string mp3 = std::string("ID3\3\0\0\0\0\1", 9) + static_cast<char>(apic.size() + 10 - 128) + "APIC" +
                    std::string("\0\0\0", 3) + static_cast<char>(apic.size()) + std::string("\0\0", 2) + apic;
  for (int i = 0; i < 40; ++i) mp3 += std::string("\xff\xfb\x90\x00", 4) + std::string(413, '\0');
  file.write(mp3);
  CHECK(code_of(file.path()) == "video.no_stream");
}

TEST_CASE("video_reader: reading stops when it is interrupted") {
  const TempFile file(".mkv");
  make_video(file.path(), {}, 50, paint_grey);
  bool stop = false;
  VideoReaderOptions options;
  options.interrupted = [&stop] { return stop; };
  VideoReader reader(file.path(), options);
  REQUIRE(reader.next());
  stop = true;
  CHECK_THROWS_AS(reader.next(), VideoReader::Interrupted);
}
