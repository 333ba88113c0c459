#pragma once

#include <cstdint>
#include <vector>

#include "stages/video/detectors.h"

/// Whether a frame is worth showing, from a reduced picture of it and of its neighbours.
/// Functions keep no state; any thread may call them.
namespace reelfolio::stages {

/// What is kept of a frame to judge it.
struct FrameLook {
  double time_s = 0;
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> luma;  ///< [height, width]
  double mean = 0;                 ///< of the luma, 0..255
  double deviation = 0;            ///< its standard deviation
  double bright_share = 0;         ///< share of pixels that are not nearly black
  double sharpness = 0;            ///< mean square of the Laplacian
};

FrameLook look_at(const BgrFrame& frame, double time_s);

/// Black but for specks, or one colour all over.
bool is_blank(const FrameLook& look);

/// In the midst of a dissolve or a fade: its neighbours, of the same size, differ, and it is their
/// mixture. A moving picture is no mixture of the pictures around it, and a cut has a neighbour like itself.
bool is_mixture(const FrameLook& before, const FrameLook& look, const FrameLook& after);

}  // namespace reelfolio::stages
