#include "engine/ops/quantized_linear.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "engine/kernels/quant_kernels.h"
#include "engine/ops/matmul.h"
#include "tests/engine/random_values.h"
#include "tests/support/catch.h"

namespace quant = reelfolio::engine::quant;
namespace kernels = reelfolio::engine::kernels;
namespace ops = reelfolio::engine::ops;
using reelfolio::engine::Matrix;
using reelfolio::test::normal;

namespace {

quant::PackedBuffer pack(quant::Format format, std::size_t out, std::size_t in,
                         const std::vector<float>& weights) {
  return quant::pack_matrix({format, out, in}, [&](std::size_t n, std::span<float> row) {
    std::memcpy(row.data(), weights.data() + n * in, in * sizeof(float));
  });
}

std::vector<float> multiply(const ops::QuantizedLinear& linear, const std::vector<float>& x,
                            std::size_t first, std::size_t rows) {
  const quant::PackedShape& shape = linear.weights().shape;
  quant::QuantizedRows q;
  quant::quantize_rows({x.data() + first * shape.in, rows, shape.in}, q);
  std::vector<float> y(rows * shape.out, -7.0F);
  linear.apply(q, Matrix(y.data(), rows, shape.out));
  return y;
}

struct RestoreKernels {
  ~RestoreKernels() { kernels::force_quant_kernels("auto"); }
};

}  // namespace

TEST_CASE("quantized linear: a row's bits do not depend on its neighbours, threads or kernels") {
  const RestoreKernels restore;
  const int threads = ops::num_threads();
  for (const auto format : {quant::Format::int8, quant::Format::int4, quant::Format::int2}) {
    for (const auto& [out, in] : {std::pair<std::size_t, std::size_t>{70, 48}, {1100, 384}, {64, 128}}) {
      const std::vector<float> weights = normal(out * in, 1);
      const quant::PackedBuffer packed = pack(format, out, in, weights);
      const ops::QuantizedLinear linear(packed.view());
      const std::size_t rows = 600;  // more than one call's rows, and enough to expand 4-bit weights
      const std::vector<float> x = normal(rows * in, 2);
      kernels::force_quant_kernels("ref");
      const std::vector<float> expected = multiply(linear, x, 0, rows);
      std::size_t count = 0;
      const kernels::QuantKernels* list = kernels::quant_kernel_list(count);
      for (std::size_t i = 0; i < count; ++i) {
        if (!kernels::force_quant_kernels(list[i].name)) continue;
        for (const int n : {1, 2, 3}) {
          ops::set_num_threads(n);
          INFO(quant::format_name(format)
               << " [" << out << ", " << in << "] " << list[i].name << ", " << n << " threads");
          REQUIRE(multiply(linear, x, 0, rows) == expected);
          for (const auto& [first, some] :
               {std::pair<std::size_t, std::size_t>{0, 1}, {5, 3}, {100, 17}, {333, 150}}) {
            const std::vector<float> part = multiply(linear, x, first, some);
            REQUIRE(std::memcmp(part.data(), expected.data() + first * out, part.size() * sizeof(float)) ==
                    0);
          }
        }
      }
    }
  }
  ops::set_num_threads(threads);
}

TEST_CASE("quantized linear: error against f32 is what the formats promise, with outliers too") {
  const std::size_t out = 256;
  const std::size_t in = 2560;
  const std::size_t rows = 8;
  const std::vector<float> weights = normal(out * in, 3);
  std::vector<float> x = normal(rows * in, 4);
  // A few channels hundreds of times the rest, as activations before down_proj have them.
  for (std::size_t r = 0; r < rows; ++r) {
    for (const std::size_t c : {7U, 900U, 2100U}) x[r * in + c] *= 300.0F;
  }
  std::vector<double> expected(rows * out);
  double power = 0;
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t n = 0; n < out; ++n) {
      double sum = 0;
      for (std::size_t k = 0; k < in; ++k) sum += static_cast<double>(x[r * in + k]) * weights[n * in + k];
      expected[r * out + n] = sum;
      power += sum * sum;
    }
  }
  // Largest relative error (root mean square) of weights and activations together.
  for (const auto& [format, limit] :
       {std::pair{quant::Format::int8, 0.02}, {quant::Format::int4, 0.11}, {quant::Format::int2, 0.36}}) {
    const quant::PackedBuffer packed = pack(format, out, in, weights);
    const std::vector<float> y = multiply(ops::QuantizedLinear(packed.view()), x, 0, rows);
    double error = 0;
    for (std::size_t i = 0; i < y.size(); ++i) error += (y[i] - expected[i]) * (y[i] - expected[i]);
    INFO(quant::format_name(format) << " relative error " << std::sqrt(error / power));
    CHECK(std::sqrt(error / power) < limit);
    CHECK(std::sqrt(error / power) > limit / 10);  // a limit that means something
  }
}

TEST_CASE("packed matrix: rows come back to the format's precision, and bytes repeat") {
  const std::vector<float> weights = normal(70 * 200, 5);
  for (const auto& [format, limit] :
       {std::pair{quant::Format::int8, 0.02}, {quant::Format::int4, 0.11}, {quant::Format::int2, 0.36}}) {
    const quant::PackedBuffer packed = pack(format, 70, 200, weights);
    quant::PackedBuffer again = pack(format, 70, 200, weights);
    CHECK(std::memcmp(packed.view().codes, again.codes().data(), again.codes().size()) == 0);
    std::vector<float> row(200);
    double error = 0;
    double power = 0;
    for (std::size_t n = 0; n < 70; ++n) {
      quant::unpack_row(packed.view(), n, row);
      for (std::size_t k = 0; k < 200; ++k) {
        const double d = row[k] - weights[n * 200 + k];
        error += d * d;
        power += static_cast<double>(weights[n * 200 + k]) * weights[n * 200 + k];
      }
    }
    CHECK(std::sqrt(error / power) < limit);
  }
}
