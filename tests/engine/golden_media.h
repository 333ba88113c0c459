#pragma once

#include <filesystem>

#include "engine/audio_clip.h"
#include "engine/rgb_image.h"

/// The files of a golden kit that a prompt shows and plays. Both throw std::runtime_error.
namespace reelfolio::test {

engine::RgbImage read_png(const std::filesystem::path& path);

/// A WAV file as the kit's script writes it: a header of 44 bytes, then 16-bit samples of one
/// channel at 16 kHz.
engine::AudioClip read_wav(const std::filesystem::path& path);

}  // namespace reelfolio::test
