#include "pipeline/media_codec.h"

#include <zstd.h>

#include <cstddef>
#include <cstring>
#include <new>

namespace reelfolio::pipeline {

namespace {

constexpr int kLevel = 1;
constexpr std::size_t kChannels = 3;

std::string compress(const void* bytes, std::size_t size) {
  std::string packed(ZSTD_compressBound(size), '\0');
  const std::size_t used = ZSTD_compress(packed.data(), packed.size(), bytes, size, kLevel);
  if (ZSTD_isError(used) != 0) throw std::bad_alloc();
  packed.resize(used);
  return packed;
}

/// Into exactly `size` bytes at `to`. Memory is taken by what is expected, not by what is claimed.
bool decompress(std::string_view packed, void* to, std::size_t size) {
  return ZSTD_decompress(to, size, packed.data(), packed.size()) == size;
}

/// What the left, upper and upper left neighbours of a byte lead to expect of it: the gradient's
/// continuation, held between the neighbours at edges (the predictor of LOCO-I, Weinberger et al. 2000).
std::uint8_t expected_byte(int left, int up, int corner) {
  const int low = left < up ? left : up;
  const int high = left < up ? up : left;
  if (corner >= high) return static_cast<std::uint8_t>(low);
  if (corner <= low) return static_cast<std::uint8_t>(high);
  return static_cast<std::uint8_t>(left + up - corner);
}

/// f(expectation, index) for each byte of a picture; `values` are its bytes as far as they are known
/// by then.
template <class F>
void for_each_expected(const std::uint8_t* values, int width, int height, F f) {
  const std::size_t row = kChannels * static_cast<std::size_t>(width);
  for (std::size_t i = 0; i < row; ++i) f(i < kChannels ? std::uint8_t{0} : values[i - kChannels], i);
  for (std::size_t y = 1; y < static_cast<std::size_t>(height); ++y) {
    const std::size_t start = y * row;
    for (std::size_t i = start; i < start + kChannels; ++i) f(values[i - row], i);
    for (std::size_t i = start + kChannels; i < start + row; ++i) {
      f(expected_byte(values[i - kChannels], values[i - row], values[i - row - kChannels]), i);
    }
  }
}

}  // namespace

std::string pack_picture(std::span<const std::uint8_t> rgb, int width, int height) {
  std::vector<std::uint8_t> differences(rgb.size());
  for_each_expected(rgb.data(), width, height, [&](std::uint8_t expectation, std::size_t i) {
    differences[i] = static_cast<std::uint8_t>(rgb[i] - expectation);
  });
  return compress(differences.data(), differences.size());
}

std::vector<std::uint8_t> unpack_picture(std::string_view packed, int width, int height) {
  std::vector<std::uint8_t> rgb(kChannels * static_cast<std::size_t>(width) *
                                static_cast<std::size_t>(height));
  if (!decompress(packed, rgb.data(), rgb.size())) return {};
  for_each_expected(rgb.data(), width, height, [&](std::uint8_t expectation, std::size_t i) {
    rgb[i] = static_cast<std::uint8_t>(rgb[i] + expectation);
  });
  return rgb;
}

std::string pack_samples(std::span<const float> samples) {
  // Bytes of equal weight beside one another: those of sign and exponent repeat.
  std::vector<std::uint8_t> planes(samples.size_bytes());
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(samples.data());
  for (std::size_t i = 0; i < planes.size(); ++i) {
    planes[i % sizeof(float) * samples.size() + i / sizeof(float)] = bytes[i];
  }
  return compress(planes.data(), planes.size());
}

std::vector<float> unpack_samples(std::string_view packed, std::size_t count) {
  std::vector<std::uint8_t> planes(count * sizeof(float));
  if (!decompress(packed, planes.data(), planes.size())) return {};
  std::vector<float> samples(count);
  auto* bytes = reinterpret_cast<std::uint8_t*>(samples.data());
  for (std::size_t i = 0; i < planes.size(); ++i) {
    bytes[i] = planes[i % sizeof(float) * count + i / sizeof(float)];
  }
  return samples;
}

}  // namespace reelfolio::pipeline
