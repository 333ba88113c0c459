#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

/// Small sound files for tests, encoded on the fly.
namespace reelfolio::test {

struct TrackSpec {
  std::string codec = "pcm_s16le";  ///< FFmpeg's name of an encoder
  int rate = 16000;
  int channels = 1;    ///< in FFmpeg's default layout for that number
  double seconds = 1;  ///< of sound
  /// When the first sample is heard. Below 0 in MP4: an edit list leaves out what comes before 0.
  double start_s = 0;
  std::string language{};  ///< tag; empty: none
  bool is_default = false;
  /// Full scale is -1 to 1; `time_s` counts from the first sample. Empty: silence.
  std::function<double(double time_s, int channel)> sound{};
  /// Packets that begin in [first, second), in seconds of the file, are left out.
  std::vector<std::pair<double, double>> gaps{};
  /// Packets from `first` seconds on are stamped `second` seconds later.
  std::pair<double, double> jump{0, 0};
};

struct SoundFileSpec {
  std::string container = "matroska";  ///< FFmpeg's name of a muxer
  std::vector<TrackSpec> tracks{};
  double video_s = 0;  ///< of a video track that starts at 0 (25 frames a second); 0: none
};

/// Throws std::runtime_error.
void make_sound_file(const std::filesystem::path& path, const SoundFileSpec& spec);

/// 50 ms that rise from 500 to 3000 Hz, at `at_s`; silence elsewhere.
std::function<double(double, int)> chirp_at(double at_s);
/// When that chirp begins in samples at 16 kHz, by correlation.
double find_chirp(std::span<const float> samples);

std::function<double(double, int)> tone(double hz, double amplitude);

}  // namespace reelfolio::test
