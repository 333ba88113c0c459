#include "engine/ops/rope.h"

#include <cmath>

#include "engine/ops/parallel.h"

namespace reelfolio::engine::ops {

namespace {

void rotate(float* x, const float* cosine, const float* sine, std::size_t half) {
  for (std::size_t j = 0; j < half; ++j) {
    const float u = x[j];
    const float v = x[j + half];
    x[j] = u * cosine[j] - v * sine[j];
    x[j + half] = v * cosine[j] + u * sine[j];
  }
}

/// cosine and sine have one entry for each frequency.
void angles(const RopeFrequencies& frequencies, float position, float* cosine, float* sine) {
  for (std::size_t j = 0; j < frequencies.inverse.size(); ++j) {
    const float angle = position * frequencies.inverse[j];
    cosine[j] = std::cos(angle);
    sine[j] = std::sin(angle);
  }
}

}  // namespace

RopeFrequencies rope_default(std::size_t size, double theta) {
  return rope_proportional(size, theta, 1.0);
}

RopeFrequencies rope_proportional(std::size_t size, double theta, double partial_rotary_factor,
                                  double factor) {
  assert(size % 2 == 0);
  RopeFrequencies result;
  result.inverse.assign(size / 2, 0.0F);
  const auto turning =
      static_cast<std::size_t>(std::floor(partial_rotary_factor * static_cast<double>(size) / 2.0));
  for (std::size_t j = 0; j < turning && j < size / 2; ++j) {
    const double exponent = 2.0 * static_cast<double>(j) / static_cast<double>(size);
    result.inverse[j] = static_cast<float>(1.0 / std::pow(theta, exponent) / factor);
  }
  return result;
}

void rope_row(Vector x, const RopeFrequencies& frequencies, float position) {
  assert(x.size() == frequencies.size());
  const std::size_t half = frequencies.inverse.size();
  for (std::size_t j = 0; j < half; ++j) {
    const float angle = position * frequencies.inverse[j];
    const float cosine = std::cos(angle);
    const float sine = std::sin(angle);
    const float u = x[j];
    const float v = x[j + half];
    x[j] = u * cosine - v * sine;
    x[j + half] = v * cosine + u * sine;
  }
}

void rope_heads(Matrix x, std::size_t heads, const RopeFrequencies& frequencies,
                std::span<const std::size_t> positions) {
  assert(x.cols == heads * frequencies.size() && positions.size() == x.rows);
  const std::size_t half = frequencies.inverse.size();
#pragma omp parallel if (x.rows * x.cols > kParallelElements)
  {
    std::vector<float> cosine(half);
    std::vector<float> sine(half);
#pragma omp for schedule(static)
    for (std::size_t r = 0; r < x.rows; ++r) {
      angles(frequencies, static_cast<float>(positions[r]), cosine.data(), sine.data());
      for (std::size_t h = 0; h < heads; ++h) {
        rotate(x.data + r * x.stride + h * 2 * half, cosine.data(), sine.data(), half);
      }
    }
  }
}

}  // namespace reelfolio::engine::ops
