#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "engine/kernels/row_kernels.h"
#include "engine/ops/activation.h"
#include "engine/ops/gather.h"
#include "engine/ops/rms_norm.h"
#include "engine/ops/rope.h"
#include "tests/support/catch.h"

namespace {

using namespace reelfolio::engine;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Runs `check` with each row kernel that this processor has.
template <class F>
void with_each_kernel(F check) {
  for (const char* name : {"ref", "avx2", "avx512"}) {
    if (!kernels::force_row_kernels(name)) continue;
    INFO("kernels " << name);
    REQUIRE(std::string(kernels::row_kernels().name) == name);
    check(kernels::row_kernels());
  }
  REQUIRE(kernels::force_row_kernels("auto"));
}

std::vector<float> range(float first, float last, std::size_t count) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    values[i] = first + (last - first) * static_cast<float>(i) / static_cast<float>(count - 1);
  }
  return values;
}

}  // namespace

TEST_CASE("exp: relative error below 2e-7 over the normal range, 0 and the cap beyond") {
  with_each_kernel([](const kernels::RowKernels& kernel) {
    const auto x = range(-87.3F, 88.3F, 1000003);
    std::vector<float> y(x.size());
    kernel.exp(x.data(), y.data(), x.size());
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double exact = std::exp(static_cast<double>(x[i]));
      worst = std::max(worst, std::abs(static_cast<double>(y[i]) - exact) / exact);
    }
    INFO("largest relative error " << worst);
    CHECK(worst < 2e-7);
    const std::vector<float> edges = {0.0F, -0.0F, -88.0F, -kInfinity, 1000.0F};
    std::vector<float> at(edges.size());
    kernel.exp(edges.data(), at.data(), edges.size());
    CHECK(at[0] == 1.0F);
    CHECK(at[1] == 1.0F);
    CHECK(at[2] == 0.0F);
    CHECK(at[3] == 0.0F);
    CHECK((at[4] > 2e38F && std::isfinite(at[4])));
  });
}

TEST_CASE("tanh, sigmoid, silu and gelu match double") {
  with_each_kernel([](const kernels::RowKernels& kernel) {
    const auto x = range(-30.0F, 30.0F, 400003);
    std::vector<float> tanhs(x.size()), sigmoids(x.size()), silus(x.size()), gelus(x.size());
    kernel.tanh(x.data(), tanhs.data(), x.size());
    kernel.sigmoid(x.data(), sigmoids.data(), x.size());
    kernel.silu(x.data(), silus.data(), x.size());
    kernel.gelu(x.data(), nullptr, gelus.data(), x.size());
    double tanh_error = 0;
    double sigmoid_error = 0;
    double silu_error = 0;
    double gelu_error = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double v = static_cast<double>(x[i]);
      const double sigmoid = 1 / (1 + std::exp(-v));
      const double gelu = 0.5 * v * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
      const double scale = std::max(1.0, std::abs(v));
      tanh_error = std::max(tanh_error, std::abs(static_cast<double>(tanhs[i]) - std::tanh(v)));
      sigmoid_error = std::max(sigmoid_error, std::abs(static_cast<double>(sigmoids[i]) - sigmoid));
      silu_error = std::max(silu_error, std::abs(static_cast<double>(silus[i]) - v * sigmoid) / scale);
      gelu_error = std::max(gelu_error, std::abs(static_cast<double>(gelus[i]) - gelu) / scale);
    }
    INFO("tanh " << tanh_error << ", sigmoid " << sigmoid_error << ", silu " << silu_error << ", gelu "
                 << gelu_error);
    CHECK(tanh_error < 2e-7);
    CHECK(sigmoid_error < 2e-7);
    CHECK(silu_error < 3e-7);
    CHECK(gelu_error < 5e-7);
  });
}

TEST_CASE("row kernels treat every length and tail alike") {
  with_each_kernel([](const kernels::RowKernels& kernel) {
    for (std::size_t n = 1; n < 70; ++n) {
      auto x = range(-2.0F, 3.0F, n + 1);
      x.resize(n);
      std::vector<float> y(n + 1, 77.0F);
      kernel.exp(x.data(), y.data(), n);
      CHECK(y[n] == 77.0F);
      double squares = 0;
      double exps = 0;
      float top = x[0];
      for (std::size_t i = 0; i < n; ++i) {
        CHECK(y[i] == Approx(std::exp(x[i])).epsilon(1e-6));
        squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
        exps += std::exp(static_cast<double>(x[i]) - 3.0);
        top = std::max(top, x[i]);
      }
      CHECK(kernel.sum_of_squares(x.data(), n) == Approx(squares).epsilon(1e-6));
      CHECK(kernel.exp_sum(x.data(), 3.0F, y.data(), n) == Approx(exps).epsilon(1e-6));
      CHECK(kernel.max(x.data(), n) == top);
      std::vector<std::uint16_t> halves(n);
      kernel.f32_to_bf16(x.data(), halves.data(), n);
      for (std::size_t i = 0; i < n; ++i) CHECK(halves[i] == f32_to_bf16(x[i]));
      kernel.bf16_to_f32(halves.data(), y.data(), n);
      for (std::size_t i = 0; i < n; ++i) CHECK(y[i] == bf16_to_f32(halves[i]));
    }
  });
}

TEST_CASE("rounding to int8 follows its definition to the bit, with every kernel and length") {
  const auto expected_codes = [](const std::vector<float>& x, float& scale) {
    float largest = 0.0F;
    for (const float v : x) largest = std::max(largest, std::abs(v));
    scale = largest / 127.0F;
    std::vector<int> codes;
    for (const float v : x) codes.push_back(scale > 0.0F ? static_cast<int>(std::lrint(v / scale)) : 0);
    return codes;
  };
  with_each_kernel([&](const kernels::RowKernels& kernel) {
    std::mt19937 random(11);
    std::normal_distribution<float> normal(0.0F, 3.0F);
    for (std::size_t n = 1; n < 300; ++n) {
      std::vector<float> x(n);
      for (float& v : x) v = normal(random);
      if (n % 3 == 0) x[n / 2] = 254.0F;  // ratios of x.5: ties
      if (n % 3 == 0) x[n / 3] = 5.0F;
      if (n % 7 == 0) std::fill(x.begin(), x.end(), 0.0F);
      float scale = -1.0F;
      const std::vector<int> expected = expected_codes(x, scale);
      std::vector<std::int8_t> codes(n + 1, std::int8_t{99});
      CHECK(kernel.f32_to_int8(x.data(), codes.data(), n) == scale);
      CHECK(codes[n] == 99);
      CHECK(std::vector<int>(codes.begin(), codes.end() - 1) == expected);
      for (const float poison : {kInfinity, -kInfinity, std::nanf("")}) {
        std::vector<float> spoilt = x;
        spoilt[n - 1] = poison;
        CHECK(std::isnan(kernel.f32_to_int8(spoilt.data(), codes.data(), n)));
        CHECK(std::all_of(codes.begin(), codes.end() - 1, [](std::int8_t code) { return code == 0; }));
      }
    }
    // So small that the scale is a denormal itself, and rounded: nothing wraps around.
    const std::vector<float> tiny = {190 * 1.4012985e-45F, -190 * 1.4012985e-45F};
    std::vector<std::int8_t> codes(2);
    kernel.f32_to_int8(tiny.data(), codes.data(), 2);
    CHECK((codes[0] == 127 && codes[1] == -127));
  });
}

TEST_CASE("attention tiles match plain sums, and a row does not depend on the tile") {
  with_each_kernel([](const kernels::RowKernels& kernel) {
    constexpr std::size_t kKeys = kernels::kTileKeys;
    for (const std::size_t size : {std::size_t{8}, std::size_t{16}, std::size_t{40}, std::size_t{256}}) {
      const std::size_t rows = 11;
      const auto q = range(-1.0F, 1.0F, rows * size);
      auto k = range(0.7F, -0.9F, kKeys * size);
      for (std::size_t i = 0; i < k.size(); i += 3) k[i] = -k[i];
      for (const std::size_t keys : {std::size_t{1}, std::size_t{6}, std::size_t{63}, kKeys}) {
        std::vector<float> scores(rows * kKeys, 0.0F);
        kernel.dot_tile(q.data(), size, rows, k.data(), keys, size, scores.data());
        for (std::size_t r = 0; r < rows; ++r) {
          for (std::size_t t = 0; t < keys; ++t) {
            double sum = 0;
            for (std::size_t d = 0; d < size; ++d) {
              sum += static_cast<double>(q[r * size + d]) * static_cast<double>(k[t * size + d]);
            }
            CHECK(scores[r * kKeys + t] == Approx(sum).margin(1e-4));
            float alone[kKeys] = {};
            kernel.dot_tile(q.data() + r * size, size, 1, k.data() + t * size, 1, size, alone);
            CHECK(std::memcmp(alone, &scores[r * kKeys + t], sizeof(float)) == 0);
          }
        }
        std::vector<float> out(rows * size, 2.0F);
        const std::vector<float> keep(rows, 0.5F);
        kernel.weighted_tile(scores.data(), keep.data(), rows, k.data(), keys, size, out.data(), size);
        for (std::size_t r = 0; r < rows; ++r) {
          std::vector<float> alone(size, 2.0F);
          kernel.weighted_tile(scores.data() + r * kKeys, keep.data(), 1, k.data(), keys, size, alone.data(),
                               size);
          CHECK(std::memcmp(alone.data(), out.data() + r * size, size * sizeof(float)) == 0);
          double sum = 1.0;
          for (std::size_t t = 0; t < keys; ++t) {
            sum += static_cast<double>(scores[r * kKeys + t]) * static_cast<double>(k[t * size]);
          }
          CHECK(alone[0] == Approx(sum).margin(1e-3));
        }
      }
    }
  });
}

TEST_CASE("rms_norm: divides by the root of the mean square, per head, with and without weight") {
  const std::vector<float> x = {3, 4, 6, 8};
  const std::vector<float> weight = {2, -1};
  MatrixBuffer y(1, 4);
  ops::rms_norm_heads(ConstMatrix(x.data(), 1, 4), 2, weight, 0.0F, y.view());
  const float root = std::sqrt(12.5F);
  CHECK(y.view().at(0, 0) == Approx(6 / root));
  CHECK(y.view().at(0, 1) == Approx(-4 / root));
  CHECK(y.view().at(0, 2) == Approx(6 / root));
  CHECK(y.view().at(0, 3) == Approx(-4 / root));
  ops::rms_norm(ConstMatrix(x.data(), 2, 2), {}, 0.0F, Matrix(y.view().data, 2, 2));
  CHECK(y.view().data[0] == Approx(3 / root));
  CHECK(y.view().data[2] == Approx(3 / root));
}

TEST_CASE("rope: position 0 leaves the row unchanged, a pair turns by its angle") {
  const ops::RopeFrequencies frequencies = ops::rope_default(8, 10000.0);
  CHECK(frequencies.inverse[1] == Approx(0.1F));
  std::vector<float> x = {1, 2, 3, 4, 5, 6, 7, 8};
  const auto before = x;
  ops::rope_row(x, frequencies, 0.0F);
  CHECK(x == before);
  ops::rope_row(x, frequencies, 2.0F);
  CHECK(x[0] == Approx(std::cos(2.0F) - 5 * std::sin(2.0F)));
  CHECK(x[4] == Approx(5 * std::cos(2.0F) + std::sin(2.0F)));
  const std::size_t positions[] = {2};
  auto heads = before;
  ops::rope_heads(Matrix(heads.data(), 1, 8), 1, frequencies, positions);
  CHECK(heads == x);
}

TEST_CASE("rope: proportional keeps the full size in the exponent and stops after its share") {
  const ops::RopeFrequencies frequencies = ops::rope_proportional(512, 1e6, 0.25);
  REQUIRE(frequencies.inverse.size() == 256);
  CHECK(frequencies.inverse[63] == Approx(std::pow(1e6, -126.0 / 512)));
  CHECK(frequencies.inverse[64] == 0.0F);
  CHECK(frequencies.inverse[255] == 0.0F);
  CHECK(ops::rope_proportional(512, 1e6, 0.25, 8.0).inverse[0] == Approx(0.125F));
}

TEST_CASE("softmax: adds up to 1, masked elements give 0, a masked row gives zeros") {
  const std::vector<float> x = {1, 2, -kInfinity, 400, 401, -kInfinity, -kInfinity, -kInfinity, -kInfinity};
  MatrixBuffer y(3, 3);
  ops::softmax(ConstMatrix(x.data(), 3, 3), y.view());
  CHECK(y.view().at(0, 0) == Approx(1 / (1 + std::exp(1.0F))));
  CHECK(y.view().at(0, 2) == 0.0F);
  CHECK(y.view().at(1, 1) == Approx(1 / (1 + std::exp(-1.0F))));
  for (std::size_t c = 0; c < 3; ++c) CHECK(y.view().at(2, c) == 0.0F);
}

TEST_CASE("gather: elements of bf16, f16 and f32 tables") {
  const std::vector<std::uint16_t> bf16 = {0x3F80, 0x4000, 0xC040, 0x3F00};
  const std::vector<std::uint16_t> f16 = {0x3C00, 0x4000, 0xC200, 0x3800};
  const std::vector<float> f32 = {1, 2, -3, 0.5F};
  std::vector<float> row(2);
  const auto check = [&](std::span<const std::byte> bytes, DType dtype) {
    ops::convert_to_f32(bytes, dtype, 2, row);
    CHECK(row == std::vector<float>{-3, 0.5F});
  };
  check(std::as_bytes(std::span(bf16)), DType::bf16);
  check(std::as_bytes(std::span(f16)), DType::f16);
  check(std::as_bytes(std::span(f32)), DType::f32);
}
