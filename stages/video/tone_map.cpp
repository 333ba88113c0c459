#include "stages/video/tone_map.h"

#include <algorithm>
#include <cmath>

extern "C" {
#include <libavutil/pixfmt.h>
}

namespace reelfolio::stages {
namespace {

constexpr double kWhiteNits = 203;
constexpr double kHlgPeakNits = 1000;
constexpr double kSdrGamma = 2.4;  // ITU-R BT.1886

double pq_to_nits(double coded) {
  constexpr double m1 = 2610.0 / 16384, m2 = 2523.0 / 4096 * 128;
  constexpr double c1 = 3424.0 / 4096, c2 = 2413.0 / 4096 * 32, c3 = 2392.0 / 4096 * 32;
  const double p = std::pow(coded, 1 / m2);
  return 10000 * std::pow(std::max(p - c1, 0.0) / (c2 - c3 * p), 1 / m1);
}

double nits_to_pq(double nits) {
  constexpr double m1 = 2610.0 / 16384, m2 = 2523.0 / 4096 * 128;
  constexpr double c1 = 3424.0 / 4096, c2 = 2413.0 / 4096 * 32, c3 = 2392.0 / 4096 * 32;
  const double p = std::pow(nits / 10000, m1);
  return std::pow((c1 + c2 * p) / (1 + c3 * p), m2);
}

/// Scene light, 0..1.
double hlg_to_scene(double coded) {
  constexpr double a = 0.17883277, b = 0.28466892, c = 0.55991073;
  return coded <= 0.5 ? coded * coded / 3 : (std::exp((coded - c) / a) + b) / 12;
}

/// ITU-R BT.2390, annex 5: a Hermite spline above a knee, in PQ values relative to the source's peak.
double compress_nits(double nits, double peak_nits) {
  const double peak = nits_to_pq(peak_nits);
  const double target = nits_to_pq(kWhiteNits) / peak;
  const double knee = 1.5 * target - 0.5;
  const double x = std::min(nits_to_pq(nits) / peak, 1.0);
  if (x <= knee) return nits;
  const double t = (x - knee) / (1 - knee);
  const double y = (2 * t * t * t - 3 * t * t + 1) * knee + (t * t * t - 2 * t * t + t) * (1 - knee) +
                   (-2 * t * t * t + 3 * t * t) * target;
  return pq_to_nits(y * peak);
}

double srgb_coded(double light) {
  return light <= 0.0031308 ? 12.92 * light : 1.055 * std::pow(light, 1 / 2.4) - 0.055;
}

}  // namespace

ToneMap::ToneMap(Transfer transfer, bool bt2020, double peak_nits)
    : hlg_(transfer == Transfer::hlg), bt2020_(bt2020), linear_(65536), coded_(65536) {
  const double peak = hlg_ ? kHlgPeakNits : peak_nits;
  peak_ = transfer == Transfer::gamma ? 1.0F : static_cast<float>(peak / kWhiteNits);
  for (std::size_t i = 0; i < 65536; ++i) {
    const double x = static_cast<double>(i) / 65535;
    double light = 0;
    if (transfer == Transfer::pq) light = pq_to_nits(x) / kWhiteNits;
    if (transfer == Transfer::hlg) light = hlg_to_scene(x);
    if (transfer == Transfer::gamma) light = std::pow(x, kSdrGamma);
    linear_[i] = static_cast<float>(light);
    // Standard range goes out by the curve it came in by, so that greys stay what they are.
    const double coded = transfer == Transfer::gamma ? std::pow(x, 1 / kSdrGamma) : srgb_coded(x);
    coded_[i] = static_cast<std::uint8_t>(std::lround(255 * coded));
  }
  for (int i = 0; i <= kGainSteps; ++i) {
    const double nits = peak * std::max(i, 1) / kGainSteps;
    const double gain = transfer == Transfer::gamma ? 1 : compress_nits(nits, peak) / nits;
    gain_[static_cast<std::size_t>(i)] = static_cast<float>(gain);
  }
}

void ToneMap::apply(const std::uint8_t* rgb48, int width, std::uint8_t* rgb24) const {
  const auto encode = [this](float light) {
    return coded_[static_cast<std::size_t>(std::clamp(light, 0.0F, 1.0F) * 65535.0F + 0.5F)];
  };
  for (int x = 0; x < width; ++x) {
    float c[3];
    for (int i = 0; i < 3; ++i) {
      const std::uint8_t* p = rgb48 + (static_cast<std::ptrdiff_t>(x) * 3 + i) * 2;
      c[i] = linear_[static_cast<std::size_t>(p[0] | p[1] << 8)];
    }
    if (hlg_) {
      // The system gamma turns scene light into display light, by luminance (ITU-R BT.2100).
      const float luminance = 0.2627F * c[0] + 0.6780F * c[1] + 0.0593F * c[2];
      const float factor = peak_ * std::pow(luminance, 0.2F);
      for (float& v : c) v *= factor;
    }
    const float largest = std::min(std::max({c[0], c[1], c[2]}), peak_);
    const float gain = gain_[static_cast<std::size_t>(largest / peak_ * kGainSteps + 0.5F)];
    float r = c[0] * gain;
    float g = c[1] * gain;
    float b = c[2] * gain;
    if (bt2020_) {
      // BT.2020 -> BT.709 (ITU-R BT.2087).
      const float r2020 = r, g2020 = g, b2020 = b;
      r = 1.6605F * r2020 - 0.5876F * g2020 - 0.0728F * b2020;
      g = -0.1246F * r2020 + 1.1329F * g2020 - 0.0083F * b2020;
      b = -0.0182F * r2020 - 0.1006F * g2020 + 1.1187F * b2020;
    }
    *rgb24++ = encode(r);
    *rgb24++ = encode(g);
    *rgb24++ = encode(b);
  }
}

std::optional<ToneMap> make_tone_map(int transfer, int primaries, double peak_nits) {
  const bool bt2020 = primaries == AVCOL_PRI_BT2020;
  const bool untagged = primaries == AVCOL_PRI_UNSPECIFIED || primaries == AVCOL_PRI_RESERVED0;
  if (transfer == AVCOL_TRC_SMPTE2084) return ToneMap(ToneMap::Transfer::pq, bt2020 || untagged, peak_nits);
  if (transfer == AVCOL_TRC_ARIB_STD_B67)
    return ToneMap(ToneMap::Transfer::hlg, bt2020 || untagged, peak_nits);
  if (bt2020) return ToneMap(ToneMap::Transfer::gamma, true, peak_nits);
  return std::nullopt;
}

}  // namespace reelfolio::stages
