#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "pipeline/media_cache.h"
#include "pipeline/media_codec.h"

using namespace reelfolio;

namespace {

void use_entry(std::string_view bytes) {
  stages::Descriptor file(memfd_create("entry", MFD_CLOEXEC));
  if (!file || write(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) return;
  const pipeline::MediaCache::Reader reader(std::move(file));
  // The hash of the first record, where there is one.
  constexpr std::size_t kFirstHash = 18;
  if (bytes.size() < kFirstHash + 32) return;
  const std::string hash(bytes.substr(kFirstHash, 32));
  if (reader.picture(hash, {4, 3, 70, std::nullopt}) && !reader.has_picture(hash, {4, 3, 70, std::nullopt})) {
    std::abort();
  }
  reader.clip(hash, {12, 0});
}

void use_picture(std::string_view bytes) {
  if (bytes.size() < 2) return;
  const int width = 1 + static_cast<unsigned char>(bytes[0]);
  const int height = 1 + static_cast<unsigned char>(bytes[1]);
  const auto pixels = pipeline::unpack_picture(bytes.substr(2), width, height);
  if (pixels.empty()) return;
  if (pipeline::unpack_picture(pipeline::pack_picture(pixels, width, height), width, height) != pixels) {
    std::abort();
  }
}

void use_samples(std::string_view bytes) {
  if (bytes.size() < 2) return;
  const std::size_t count =
      1 + static_cast<unsigned char>(bytes[0]) + 256 * static_cast<unsigned char>(bytes[1]);
  const auto samples = pipeline::unpack_samples(bytes.substr(2), count);
  // What is no number is not equal to itself.
  if (!samples.empty() && pipeline::unpack_samples(pipeline::pack_samples(samples), count).size() != count) {
    std::abort();
  }
}

}  // namespace

/// The first byte says what the rest is taken for: an entry of the cache, a picture, or samples of sound.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  switch (data[0] % 3) {
    case 0:
      use_entry(bytes);
      break;
    case 1:
      use_picture(bytes);
      break;
    default:
      use_samples(bytes);
  }
  return 0;
}
