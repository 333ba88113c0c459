#include "engine/vision/resize.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

namespace reelfolio::engine::vision {

namespace {

/// Rows that the horizontal pass filters together, one in each lane: neighbours in
/// memory, so that the compiler turns the loop over them into vector code.
constexpr int kLanes = 16;
/// Bytes of a row that the vertical pass filters together. Widths that target_size
/// yields are multiples of 48 pixels, hence of 48 bytes.
constexpr int kColumnBytes = 48;
constexpr int kMaxPrecisionBits = 22;

double cubic(double x) {
  x = std::abs(x);
  if (x < 1.0) return (1.5 * x - 2.5) * x * x + 1.0;
  if (x < 2.0) return ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0;
  return 0.0;
}

/// The filter of one axis: output i is the sum over j < count of
/// weights[i * max_count + j] * input[first + j], rounded and shifted by `bits`.
struct Filter {
  struct Range {
    int first = 0;
    int count = 0;
  };
  int max_count = 0;
  int bits = 0;
  std::vector<Range> ranges;
  /// Below 2^15 by the choice of `bits`. The absolute weights of one output sum to
  /// less than 1.5 * 2^bits with bits <= 22, so that sums over bytes fit 32 bits.
  std::vector<std::int16_t> weights;

  const std::int16_t* weights_of(int i) const {
    return weights.data() + static_cast<std::size_t>(i) * max_count;
  }
};

Filter make_filter(int input_size, int output_size) {
  const double scale = static_cast<double>(input_size) / output_size;
  const double stretch = std::max(scale, 1.0);
  const double support = 2.0 * stretch;

  Filter filter;
  filter.ranges.resize(output_size);
  for (int i = 0; i < output_size; ++i) {
    const double centre = scale * (i + 0.5);
    const int low = std::max(static_cast<int>(centre - support + 0.5), 0);
    const int high = std::min(static_cast<int>(centre + support + 0.5), input_size);
    filter.ranges[i] = {low, high - low};
    filter.max_count = std::max(filter.max_count, high - low);
  }

  std::vector<double> exact(static_cast<std::size_t>(output_size) * filter.max_count);
  double largest = 0.0;
  for (int i = 0; i < output_size; ++i) {
    const auto [first, count] = filter.ranges[i];
    const double centre = scale * (i + 0.5);
    double* w = exact.data() + static_cast<std::size_t>(i) * filter.max_count;
    double sum = 0.0;
    for (int j = 0; j < count; ++j) {
      w[j] = cubic((first + j - centre + 0.5) / stretch);
      sum += w[j];
    }
    for (int j = 0; j < count; ++j) {
      w[j] /= sum;
      largest = std::max(largest, w[j]);
    }
  }

  const auto fits = [largest](int bits) { return std::trunc(0.5 + std::ldexp(largest, bits)) < 32768.0; };
  while (filter.bits < kMaxPrecisionBits && fits(filter.bits + 1)) ++filter.bits;
  filter.weights.resize(exact.size());
  for (std::size_t k = 0; k < exact.size(); ++k) {
    const double scaled = std::ldexp(exact[k], filter.bits);
    filter.weights[k] = static_cast<std::int16_t>(std::trunc(scaled + (scaled < 0.0 ? -0.5 : 0.5)));
  }
  return filter;
}

std::uint8_t to_byte(std::int32_t sum, int bits) {
  return static_cast<std::uint8_t>(std::clamp(sum >> bits, 0, 255));
}

/// Half a unit of the result. Zero bits occur for no filter of this kind: the largest
/// weight of a normalised filter is below 2, which leaves at least 13 bits.
std::int32_t rounding(int bits) {
  assert(bits >= 1);
  return std::int32_t{1} << (bits - 1);
}

/// rows x width pixels to rows x ranges.size() pixels.
void resize_rows(const RgbImage& image, const Filter& filter, RgbImage& out) {
  const std::size_t in_bytes = static_cast<std::size_t>(image.width) * 3;
  const int blocks = (image.height - 1) / kLanes + 1;
#pragma omp parallel
  {
    // Byte k of row l at [k * kLanes + l]; lanes past the last row keep zeros.
    std::vector<std::uint8_t> lanes(in_bytes * kLanes);
#pragma omp for schedule(static)
    for (int block = 0; block < blocks; ++block) {
      const int first_row = block * kLanes;
      const int rows = std::min(kLanes, image.height - first_row);
      for (int l = 0; l < rows; ++l) {
        const std::uint8_t* source = image.row(first_row + l);
        for (std::size_t k = 0; k < in_bytes; ++k) lanes[k * kLanes + l] = source[k];
      }
      for (int x = 0; x < out.width; ++x) {
        const auto [first, count] = filter.ranges[x];
        const std::int16_t* w = filter.weights_of(x);
        std::array<std::array<std::int32_t, kLanes>, 3> sums;
        for (auto& sum : sums) sum.fill(rounding(filter.bits));
        for (int j = 0; j < count; ++j) {
          const std::int16_t weight = w[j];
          const std::uint8_t* pixel = lanes.data() + static_cast<std::size_t>(first + j) * 3 * kLanes;
          for (int c = 0; c < 3; ++c) {
            for (int l = 0; l < kLanes; ++l) {
              sums[c][l] += weight * static_cast<std::int16_t>(pixel[c * kLanes + l]);
            }
          }
        }
        for (int c = 0; c < 3; ++c) {
          std::array<std::uint8_t, kLanes> bytes;
          for (int l = 0; l < kLanes; ++l) bytes[l] = to_byte(sums[c][l], filter.bits);
          for (int l = 0; l < rows; ++l) out.row(first_row + l)[x * 3 + c] = bytes[l];
        }
      }
    }
  }
}

/// One run of `bytes` neighbouring bytes of an output row.
template <class Count>
void filter_columns(const RgbImage& image, int first_row, int count, const std::int16_t* w, int bits,
                    std::size_t column, Count bytes, std::uint8_t* out) {
  std::array<std::int32_t, kColumnBytes> sums;
  sums.fill(rounding(bits));
  for (int j = 0; j < count; ++j) {
    const std::int16_t weight = w[j];
    const std::uint8_t* source = image.row(first_row + j) + column;
    for (int k = 0; k < bytes; ++k) sums[k] += weight * static_cast<std::int16_t>(source[k]);
  }
  for (int k = 0; k < bytes; ++k) out[column + k] = to_byte(sums[k], bits);
}

/// height x width pixels to ranges.size() x width pixels.
void resize_columns(const RgbImage& image, const Filter& filter, RgbImage& out) {
  const std::size_t row_bytes = static_cast<std::size_t>(image.width) * 3;
#pragma omp parallel for schedule(static)
  for (int y = 0; y < out.height; ++y) {
    const auto [first, count] = filter.ranges[y];
    const std::int16_t* w = filter.weights_of(y);
    std::size_t column = 0;
    for (; column + kColumnBytes <= row_bytes; column += kColumnBytes) {
      filter_columns(image, first, count, w, filter.bits, column, std::integral_constant<int, kColumnBytes>(),
                     out.row(y));
    }
    if (column < row_bytes) {
      filter_columns(image, first, count, w, filter.bits, column, static_cast<int>(row_bytes - column),
                     out.row(y));
    }
  }
}

RgbImage blank(int width, int height) {
  RgbImage image;
  image.width = width;
  image.height = height;
  image.pixels.resize(static_cast<std::size_t>(width) * height * 3);
  return image;
}

}  // namespace

RgbImage resize(const RgbImage& image, ImageSize size) {
  assert(image.width >= 1 && image.height >= 1 && size.width >= 1 && size.height >= 1);
  RgbImage wide;
  const RgbImage* current = &image;
  if (size.width != image.width) {
    wide = blank(size.width, image.height);
    resize_rows(image, make_filter(image.width, size.width), wide);
    current = &wide;
  }
  if (size.height == image.height) return current == &wide ? std::move(wide) : image;
  RgbImage result = blank(size.width, size.height);
  resize_columns(*current, make_filter(image.height, size.height), result);
  return result;
}

}  // namespace reelfolio::engine::vision
