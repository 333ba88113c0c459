#include "pipeline/media_cache.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "pipeline/answer_key.h"
#include "pipeline/media_codec.h"
#include "tests/support/catch.h"
#include "tests/support/temp_folder.h"

using namespace reelfolio;
using namespace reelfolio::pipeline;

namespace {

constexpr MediaCache::Options kRoomy{.most_bytes = 1 << 20, .spare_bytes = 0};

std::shared_ptr<const engine::RgbImage> noise_picture(int width, int height, unsigned seed) {
  std::mt19937 random(seed);
  auto image = std::make_shared<engine::RgbImage>();
  image->width = width;
  image->height = height;
  for (int i = 0; i < 3 * width * height; ++i) image->pixels.push_back(static_cast<std::uint8_t>(random()));
  return image;
}

std::shared_ptr<const engine::AudioClip> noise_clip(std::size_t samples, unsigned seed) {
  std::mt19937 random(seed);
  auto clip = std::make_shared<engine::AudioClip>();
  for (std::size_t i = 0; i < samples; ++i) {
    clip->samples.push_back(static_cast<float>(random() % 65536) / 32768 - 1);
  }
  return clip;
}

stages::PictureShape shape_of(const engine::RgbImage& image) {
  return {image.width, image.height, 70, std::nullopt};
}

template <class Media>
std::string media_hash(const Media& media) {
  return MediaHashes().of(media);
}

/// Keeps an entry that holds one noisy picture of about 3000 bytes.
std::string keep_picture(MediaCache& cache, const std::string& key, unsigned seed) {
  const auto image = noise_picture(50, 20, seed);
  const auto writer = cache.writer(key);
  if (writer) {
    writer->add(media_hash(image), *image);
    writer->keep();
  }
  return media_hash(image);
}

bool has_picture(MediaCache& cache, const std::string& key, unsigned seed) {
  const auto image = noise_picture(50, 20, seed);
  const auto reader = cache.reader(key);
  return reader && reader->has_picture(media_hash(image), shape_of(*image)) &&
         reader->picture(media_hash(image), shape_of(*image))->pixels == image->pixels;
}

std::size_t files_in(const std::filesystem::path& folder) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& file : std::filesystem::directory_iterator(folder)) ++count;
  return count;
}

}  // namespace

TEST_CASE("media codec: pictures and sounds come out as they went in") {
  for (const auto& [width, height] : {std::pair(1, 1), {1, 7}, {7, 1}, {2, 2}, {33, 17}}) {
    auto image = *noise_picture(width, height, 5);
    for (const bool smooth : {false, true}) {
      for (std::size_t i = 0; smooth && i < image.pixels.size(); ++i) {
        image.pixels[i] = static_cast<std::uint8_t>(i / 7);
      }
      const std::string packed = pack_picture(image.pixels, width, height);
      CHECK(unpack_picture(packed, width, height) == image.pixels);
      CHECK(unpack_picture(packed, width, height + 1).empty());
      CHECK(unpack_picture(packed.substr(0, packed.size() / 2), width, height).empty());
    }
  }
  const auto clip = noise_clip(1234, 1);
  CHECK(unpack_samples(pack_samples(clip->samples), 1234) == clip->samples);
  CHECK(unpack_samples(pack_samples(clip->samples), 1233).empty());
  // What changes slowly takes less.
  std::vector<std::uint8_t> ramp(3 * 256 * 256);
  for (std::size_t i = 0; i < ramp.size(); ++i) ramp[i] = static_cast<std::uint8_t>(i / 3 % 256 + i / 768);
  CHECK(pack_picture(ramp, 256, 256).size() < ramp.size() / 50);
}

TEST_CASE("media cache: what was kept is there in the next run, what was not kept is not") {
  const test::TempFolder folder;
  const auto clip = noise_clip(200, 3);
  const auto image = noise_picture(9, 4, 4);
  {
    MediaCache cache(folder / "media", kRoomy);
    CHECK_FALSE(cache.reader("key"));
    const auto writer = cache.writer("key");
    writer->add(media_hash(image), *image);
    writer->add(media_hash(clip), *clip);
    const std::uint64_t bytes = cache.bytes();
    writer->add(media_hash(image), *image);
    CHECK(cache.bytes() == bytes);
    writer->keep();
    cache.writer("unfinished")->add(media_hash(image), *image);
    CHECK(cache.bytes() == bytes);
  }
  MediaCache cache(folder / "media", kRoomy);
  CHECK_FALSE(cache.reader("unfinished"));
  const auto reader = cache.reader("key");
  REQUIRE(reader);
  CHECK(reader->picture(media_hash(image), shape_of(*image))->pixels == image->pixels);
  CHECK(reader->clip(media_hash(clip), {200, 0})->samples == clip->samples);
  CHECK_FALSE(reader->clip(media_hash(clip), {201, 0}));
  CHECK_FALSE(reader->has_picture(media_hash(image), {9, 5, 70, std::nullopt}));
  CHECK_FALSE(reader->has_picture(media_hash(clip), shape_of(*image)));
}

TEST_CASE("media cache: what is damaged is as good as absent") {
  const test::TempFolder folder;
  MediaCache cache(folder / "media", kRoomy);
  keep_picture(cache, "key", 1);
  const auto file = std::filesystem::directory_iterator(folder / "media")->path();
  std::string good(std::filesystem::file_size(file), '\0');
  std::ifstream(file, std::ios::binary).read(good.data(), static_cast<std::streamsize>(good.size()));
  for (std::size_t at = 0; at < good.size(); at += at < 130 ? 1 : 97) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x10);
    std::ofstream(file, std::ios::binary) << bad;
    CAPTURE(at);
    CHECK_FALSE(has_picture(cache, "key", 1));
    std::ofstream(file, std::ios::binary) << good.substr(0, at);
    CHECK_FALSE(has_picture(cache, "key", 1));
  }
  std::ofstream(file, std::ios::binary) << good;
  CHECK(has_picture(cache, "key", 1));
}

TEST_CASE("media cache: earlier runs' entries make room, the longest unused first, this run's do not") {
  const test::TempFolder folder;
  const MediaCache::Options small{.most_bytes = 10'000, .spare_bytes = 0};
  {
    MediaCache cache(folder / "media", small);
    for (unsigned i = 0; i < 5; ++i) keep_picture(cache, std::string(1, static_cast<char>('a' + i)), i);
    // Three fit; those that come later are of this run too.
    CHECK(cache.bytes() <= small.most_bytes);
    CHECK(has_picture(cache, "a", 0));
    CHECK(has_picture(cache, "c", 2));
    CHECK_FALSE(has_picture(cache, "d", 3));
  }
  MediaCache cache(folder / "media", small);
  CHECK(has_picture(cache, "a", 0));
  keep_picture(cache, "x", 10);
  keep_picture(cache, "y", 11);
  keep_picture(cache, "z", 12);
  CHECK(has_picture(cache, "a", 0));
  CHECK_FALSE(has_picture(cache, "b", 1));
  CHECK_FALSE(has_picture(cache, "c", 2));
  CHECK(has_picture(cache, "x", 10));
  CHECK(has_picture(cache, "y", 11));
  CHECK_FALSE(has_picture(cache, "z", 12));
  CHECK(cache.bytes() <= small.most_bytes);
  CHECK(files_in(folder / "media") == 3);
}

TEST_CASE("media cache: an entry without room is not kept, nor where the disk would be full") {
  const test::TempFolder folder;
  for (const MediaCache::Options& options :
       {MediaCache::Options{.most_bytes = 1000, .spare_bytes = 0}, MediaCache::Options{.most_bytes = 0},
        MediaCache::Options{.spare_bytes = std::uint64_t{1} << 60}}) {
    MediaCache cache(folder / "media", options);
    keep_picture(cache, "key", 1);
    CHECK_FALSE(cache.reader("key"));
    CHECK(cache.bytes() == 0);
  }
  MediaCache nowhere(folder.write("file", "not a folder"), kRoomy);
  keep_picture(nowhere, "key", 1);
  CHECK_FALSE(nowhere.reader("key"));
}

TEST_CASE("media cache: entries that nothing hangs on, and what a kill left, are removed") {
  const test::TempFolder folder;
  {
    MediaCache cache(folder / "media", kRoomy);
    for (unsigned i = 0; i < 3; ++i) keep_picture(cache, std::string(1, static_cast<char>('a' + i)), i);
  }
  std::ofstream(folder / "media" / "61.1.unfinished") << "half";
  MediaCache cache(folder / "media", kRoomy);
  cache.keep_only({"a", "c", "z"});
  CHECK(files_in(folder / "media") == 2);
  CHECK(has_picture(cache, "c", 2));
  CHECK_FALSE(cache.reader("b"));
  MediaCache off(folder / "media", {.most_bytes = 0});
  off.keep_only({"a", "c"});
  CHECK_FALSE(std::filesystem::exists(folder / "media"));
}
