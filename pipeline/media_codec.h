#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

/// Pictures and sounds in fewer bytes, without loss. Compression is chosen for speed: it is to cost little
/// beside decoding a video.
namespace reelfolio::pipeline {

/// rgb  [height, width, 3] of 8 bits, rows without padding
std::string pack_picture(std::span<const std::uint8_t> rgb, int width, int height);
/// Empty: these bytes are no picture of this size.
std::vector<std::uint8_t> unpack_picture(std::string_view packed, int width, int height);

std::string pack_samples(std::span<const float> samples);
/// Empty: these bytes are not so many samples.
std::vector<float> unpack_samples(std::string_view packed, std::size_t count);

}  // namespace reelfolio::pipeline
