#include "engine/vision/resize.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "engine/error.h"
#include "engine/ops/matmul.h"
#include "engine/vision/preprocess.h"
#include "tests/support/catch.h"

namespace {

using namespace reelfolio::engine;
using vision::ImageSize;

RgbImage filled(int width, int height, std::uint8_t value) {
  RgbImage image;
  image.width = width;
  image.height = height;
  image.pixels.assign(static_cast<std::size_t>(width) * height * 3, value);
  return image;
}

RgbImage noise(int width, int height, unsigned seed) {
  RgbImage image = filled(width, height, 0);
  std::mt19937 generator(seed);
  for (std::uint8_t& pixel : image.pixels) pixel = static_cast<std::uint8_t>(generator() >> 24);
  return image;
}

RgbImage transposed(const RgbImage& image) {
  RgbImage result = filled(image.height, image.width, 0);
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) std::copy_n(image.row(y) + x * 3, 3, result.row(x) + y * 3);
  }
  return result;
}

bool uniform(const RgbImage& image, std::uint8_t value) {
  return std::all_of(image.pixels.begin(), image.pixels.end(),
                     [value](std::uint8_t p) { return p == value; });
}

}  // namespace

TEST_CASE("resize: a picture of one colour keeps it") {
  for (const int value : {0, 1, 127, 128, 254, 255}) {
    for (const ImageSize size : {ImageSize{48, 48}, ImageSize{96, 240}, ImageSize{7, 300}, ImageSize{1, 1}}) {
      CAPTURE(value, size.width, size.height);
      const RgbImage result = vision::resize(filled(131, 77, static_cast<std::uint8_t>(value)), size);
      CHECK(result.width == size.width);
      CHECK(result.height == size.height);
      CHECK(uniform(result, static_cast<std::uint8_t>(value)));
    }
  }
}

TEST_CASE("resize: the same size changes nothing") {
  const RgbImage image = noise(50, 33, 1);
  CHECK(vision::resize(image, {33, 50}).pixels == image.pixels);
}

TEST_CASE("resize: a side that stays is not filtered") {
  // Columns of noise that are the same in every row stay so when the height alone changes.
  RgbImage image = noise(40, 20, 2);
  for (int y = 1; y < image.height; ++y) std::copy_n(image.row(0), 40 * 3, image.row(y));
  const RgbImage taller = vision::resize(image, {64, 40});
  for (int y = 0; y < 64; ++y) CHECK(std::equal(taller.row(y), taller.row(y) + 40 * 3, image.row(0)));
}

TEST_CASE("resize: both axes use the same filter") {
  // One axis at a time, since the order of the two matters.
  const RgbImage image = noise(61, 37, 3);
  for (const int side : {5, 48, 60, 62, 200}) {
    CAPTURE(side);
    const RgbImage wide = vision::resize(image, {37, side});
    const RgbImage tall = vision::resize(transposed(image), {side, 37});
    CHECK(transposed(wide).pixels == tall.pixels);
  }
}

TEST_CASE("resize: the three channels do not touch each other") {
  RgbImage image = noise(70, 50, 4);
  const RgbImage all = vision::resize(image, {48, 96});
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) image.pixels[i] = 0;
  const RgbImage without_red = vision::resize(image, {48, 96});
  bool same = true;
  for (std::size_t i = 0; i < all.pixels.size(); i += 3) {
    same = same && without_red.pixels[i] == 0 && without_red.pixels[i + 1] == all.pixels[i + 1] &&
           without_red.pixels[i + 2] == all.pixels[i + 2];
  }
  CHECK(same);
}

TEST_CASE("resize: halving a row by hand gives the same bytes") {
  // n_in = 4 -> 2: centres 1 and 3, support 4. Weights of output 0 over inputs 0..3 are
  // cubic((j - 0.5) / 2) = cubic(0.25), cubic(0.25), cubic(0.75), cubic(1.25)
  // = 0.8671875, 0.8671875, 0.2265625, -0.0703125, whose sum is 1.890625.
  RgbImage image = filled(4, 1, 0);
  const std::vector<std::uint8_t> values{200, 40, 90, 10};
  for (int x = 0; x < 4; ++x) std::fill_n(image.row(0) + x * 3, 3, values[x]);
  const RgbImage result = vision::resize(image, {1, 2});
  // (0.8671875 * 240 + 0.2265625 * 90 - 0.0703125 * 10) / 1.890625 = 120.5 and
  // (-0.0703125 * 200 + 0.2265625 * 40 + 0.8671875 * 100) / 1.890625 = 43.2
  CHECK((int(result.pixels[0]) == 120 || int(result.pixels[0]) == 121));
  CHECK(int(result.pixels[3]) == 43);
}

TEST_CASE("resize: overshoot is clamped to 0 and 255") {
  RgbImage image = filled(40, 1, 0);
  std::fill(image.pixels.begin() + 60, image.pixels.end(), std::uint8_t{255});
  const RgbImage result = vision::resize(image, {1, 400});
  CHECK(*std::min_element(result.pixels.begin(), result.pixels.end()) == 0);
  CHECK(*std::max_element(result.pixels.begin(), result.pixels.end()) == 255);
  // A wrap-around would show as dark pixels on the bright side.
  CHECK(std::all_of(result.pixels.begin() + 220 * 3, result.pixels.end(),
                    [](std::uint8_t p) { return p > 200; }));
}

TEST_CASE("resize: the brightest picture does not overflow when a long side shrinks most") {
  const RgbImage image = filled(60000, 3, 255);
  CHECK(uniform(vision::resize(image, {48, 48}), 255));
}

TEST_CASE("resize: the number of threads does not change a bit") {
  const RgbImage image = noise(301, 203, 5);
  const int before = ops::num_threads();
  ops::set_num_threads(1);
  const RgbImage one = vision::resize(image, {144, 480});
  for (const int threads : {2, 3}) {
    ops::set_num_threads(threads);
    CHECK(vision::resize(image, {144, 480}).pixels == one.pixels);
  }
  ops::set_num_threads(before);
}

TEST_CASE("target size: sides are multiples of 48 within the budget, whatever the picture") {
  std::mt19937 generator(6);
  for (int i = 0; i < 2000; ++i) {
    const int height = 1 + static_cast<int>(generator() % (1U << (1 + generator() % 16)));
    const int width = 1 + static_cast<int>(generator() % (1U << (1 + generator() % 16)));
    for (const int budget : {70, 140, 280, 560, 1120}) {
      const ImageSize size = vision::target_size(height, width, budget);
      const int tokens = (size.height / 48) * (size.width / 48);
      const bool good = size.height % 48 == 0 && size.width % 48 == 0 && tokens >= 1 && tokens <= budget;
      if (!good) {
        CAPTURE(height, width, budget, size.height, size.width);
        CHECK(good);
      }
    }
  }
  const int largest = std::numeric_limits<int>::max();
  CHECK(vision::target_size(largest, largest, 280) == ImageSize{768, 768});
  CHECK(vision::target_size(1, largest, 280) == ImageSize{48, 280 * 48});
}

TEST_CASE("preprocess: extreme pictures give whole soft tokens") {
  struct Case {
    int width, height, tokens;
  };
  for (const auto [width, height, tokens] :
       {Case{1, 1, 64}, Case{5000, 1, 70}, Case{1, 5000, 70}, Case{3, 2, 60}}) {
    CAPTURE(width, height);
    const auto image = vision::preprocess_image(noise(width, height, 7), 70, false);
    CHECK(image.soft_tokens() == tokens);
    CHECK(image.patches.rows() == static_cast<std::size_t>(tokens) * 9);
    CHECK(image.patches.cols() == 768);
  }
}

TEST_CASE("preprocess: a picture of the target size is cut without resizing") {
  // 70 tokens of 48 x 48: 7 x 10.
  const RgbImage image = noise(480, 336, 8);
  const auto result = vision::preprocess_image(image, 70, false);
  REQUIRE(result.patch_cols == 30);
  REQUIRE(result.patch_rows == 21);
  bool same = true;
  for (int y = 0; y < 336; ++y) {
    for (int x = 0; x < 480; ++x) {
      for (int c = 0; c < 3; ++c) {
        const float expected = static_cast<float>(image.row(y)[x * 3 + c]) * (1.0F / 255.0F);
        same =
            same && result.patches.row((y / 16) * 30 + x / 16)[((y % 16) * 16 + x % 16) * 3 + c] == expected;
      }
    }
  }
  CHECK(same);
}

TEST_CASE("preprocess: a video frame divides where a picture multiplies") {
  RgbImage image = filled(480, 336, 0);
  for (std::size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<std::uint8_t>(i % 256);
  const auto picture = vision::preprocess_image(image, 70, false);
  const auto frame = vision::preprocess_image(image, 70, true);
  bool differs = false;
  for (std::size_t i = 0; i < 256; ++i) {
    const float byte = static_cast<float>(image.pixels[i % 48]);
    if (i < 48) CHECK(frame.patches.row(0)[i] == byte / 255.0F);
    differs = differs || frame.patches.row(0)[i] != picture.patches.row(0)[i];
    CHECK(std::abs(frame.patches.row(0)[i] - picture.patches.row(0)[i]) < 1e-7F);
  }
  CHECK(differs);
}

TEST_CASE("preprocess: what cannot be read is refused with the numbers") {
  CHECK_THROWS_WITH(vision::target_size(0, 5, 280), "an image of 5 x 0 pixels is empty");
  CHECK_THROWS_WITH(vision::target_size(5, -1, 280), "an image of -1 x 5 pixels is empty");
  CHECK_THROWS_AS(vision::target_size(5, 5, 100), RequestError);
  CHECK_THROWS_AS(vision::preprocess_image(RgbImage{}, 280, false), RequestError);
  CHECK_THROWS_AS(vision::preprocess_image(noise(5, 5, 9), 0, false), RequestError);
  RgbImage image = noise(20, 10, 10);
  image.pixels.pop_back();
  CHECK_THROWS_WITH(vision::preprocess_image(image, 280, false),
                    "an image of 20 x 10 pixels has 599 bytes, expected 600");
}
