#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

namespace reelfolio::stages {

/// Pictures whose brightness or colours go beyond sRGB, row by row into sRGB. Immutable; any thread.
///
/// PQ (SMPTE ST 2084) and HLG (ARIB STD-B67, system gamma 1.2 at 1000 nits) are compressed to a
/// display of 203 nits, the level of diffuse white in HDR (ITU-R BT.2408), with the curve of ITU-R
/// BT.2390, applied to the largest of red, green and blue so that hues stay. BT.2020
/// primaries are converted to BT.709 in linear light; what lies outside is clipped.
class ToneMap {
 public:
  enum class Transfer { pq, hlg, gamma };
  ToneMap(Transfer transfer, bool bt2020, double peak_nits);

  /// `width` pixels of 3 x 16 bits, little-endian, full range -> 3 x 8 bits.
  void apply(const std::uint8_t* rgb48, int width, std::uint8_t* rgb24) const;

 private:
  static constexpr int kGainSteps = 4096;

  bool hlg_;
  bool bt2020_;
  std::vector<float> linear_;                 // [65536] coded value -> light; 1 is the SDR white
  std::vector<std::uint8_t> coded_;           // [65536] light in 0..1 -> sRGB
  std::array<float, kGainSteps + 1> gain_{};  // by largest component, in steps of peak_ / kGainSteps
  float peak_;
};

/// By FFmpeg's AVCOL_TRC_* and AVCOL_PRI_* values. None for what is sRGB already, as far as the tags
/// say. HDR is known by its transfer alone: primaries are often left out.
std::optional<ToneMap> make_tone_map(int transfer, int primaries, double peak_nits);

}  // namespace reelfolio::stages
