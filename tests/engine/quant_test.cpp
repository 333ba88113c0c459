#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "engine/kernels/quant_kernels.h"
#include "engine/quant/activations.h"
#include "engine/quant/lowbit.h"
#include "engine/quant/rotation.h"
#include "tests/engine/random_values.h"
#include "tests/support/catch.h"

namespace quant = reelfolio::engine::quant;
namespace kernels = reelfolio::engine::kernels;
using reelfolio::engine::ConstMatrix;
using reelfolio::test::normal;

namespace {

struct FreeAligned {
  void operator()(std::uint8_t* p) const { std::free(p); }
};

/// A packed matrix and the memory behind it.
struct Packed {
  Packed(quant::LowBits bits, std::size_t out, std::size_t in, const std::vector<float>& weights)
      : shape{bits, out, in},
        codes(static_cast<std::uint8_t*>(std::aligned_alloc(64, shape.code_bytes()))),
        multipliers(shape.multiplier_bytes()),
        scales(shape.scale_count()),
        sums(shape.scale_count()) {
    for (std::size_t block = 0; block < shape.row_blocks(); ++block) {
      std::vector<const float*> rows;
      for (std::size_t n = block * quant::kRowsPerBlock; n < out && rows.size() < quant::kRowsPerBlock; ++n) {
        rows.push_back(weights.data() + n * in);
      }
      quant::pack_row_block(shape, block, rows, codes.get(), multipliers.data(), scales.data(), sums.data());
    }
  }
  quant::LowBitMatrix view() const {
    return {shape, codes.get(), multipliers.data(), scales.data(), sums.data()};
  }

  quant::LowBitShape shape;
  std::unique_ptr<std::uint8_t[], FreeAligned> codes;
  std::vector<std::uint8_t> multipliers;
  std::vector<float> scales;
  std::vector<std::int32_t> sums;
};

double relative_error(const Packed& packed, const std::vector<float>& weights) {
  std::vector<std::int8_t> levels(weights.size());
  quant::unpack_rows(packed.view(), 0, packed.shape.out, levels.data());
  double error = 0;
  double power = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const double difference = weights[i] - levels[i] * packed.scales[i / packed.shape.in];
    error += difference * difference;
    power += static_cast<double>(weights[i]) * weights[i];
  }
  return error / power;
}

}  // namespace

TEST_CASE("rotation: keeps lengths and products, and is undone by its inverse") {
  for (const std::size_t size : {16U, 48U, 80U, 256U, 2560U, 7U}) {
    std::vector<float> a = normal(size, 1);
    std::vector<float> b = normal(size, 2);
    const std::vector<float> original = a;
    double before = 0;
    for (std::size_t i = 0; i < size; ++i) before += static_cast<double>(a[i]) * b[i];
    quant::rotate_row(a);
    quant::rotate_row(b);
    double after = 0;
    for (std::size_t i = 0; i < size; ++i) after += static_cast<double>(a[i]) * b[i];
    CHECK(after == Approx(before).margin(1e-4 * std::sqrt(static_cast<double>(size))));
    quant::unrotate_row(a);
    for (std::size_t i = 0; i < size; ++i) REQUIRE(a[i] == Approx(original[i]).margin(1e-5));
  }
}

TEST_CASE("rotation: one huge channel spreads over its block") {
  std::vector<float> row(512, 0.0F);
  row[300] = 1000.0F;
  quant::rotate_row(row);
  for (std::size_t i = 0; i < 256; ++i) REQUIRE(row[i] == 0.0F);
  for (std::size_t i = 256; i < 512; ++i) REQUIRE(std::abs(row[i]) == Approx(62.5F));
}

TEST_CASE("activations: rounding to 8 bits stays within half a step, outliers or not") {
  const std::size_t cols = 2560;
  std::vector<float> x = normal(3 * cols, 3);
  x[cols + 17] = 500.0F;  // a channel 500 times the rest
  for (std::size_t c = 0; c < cols; ++c) x[2 * cols + c] = 0.0F;
  quant::QuantizedRows rows;
  quant::quantize_rows({x.data(), 3, cols}, rows);
  CHECK(rows.scales[2] == 0.0F);
  for (std::size_t r = 0; r < 3; ++r) {
    std::vector<float> row(x.begin() + r * cols, x.begin() + (r + 1) * cols);
    quant::rotate_row(row);
    for (std::size_t c = 0; c < cols; ++c) {
      const int value = rows.row(r)[c] - 128;
      REQUIRE(std::abs(value) <= 127);
      REQUIRE(std::abs(row[c] - static_cast<float>(value) * rows.scales[r]) <= rows.scales[r] * 0.5001F);
    }
    for (std::size_t c = cols; c < rows.stride; ++c) REQUIRE(rows.row(r)[c] == 128);
  }
  // Without the rotation the outlier's row would have a step of 500 / 127 = 3.9.
  CHECK(rows.scales[1] < 0.5F);
}

TEST_CASE("activations: a row with NaN or infinity has scale NaN, its neighbours are untouched") {
  std::vector<float> x = normal(3 * 64, 4);
  std::vector<float> clean = x;
  x[64 + 5] = std::numeric_limits<float>::infinity();
  quant::QuantizedRows rows;
  quant::QuantizedRows expected;
  quant::quantize_rows({x.data(), 3, 64}, rows);
  quant::quantize_rows({clean.data(), 3, 64}, expected);
  CHECK(std::isnan(rows.scales[1]));
  for (const std::size_t r : {0U, 2U}) {
    CHECK(rows.scales[r] == expected.scales[r]);
    CHECK(std::memcmp(rows.row(r), expected.row(r), 64) == 0);
  }
}

TEST_CASE("lowbit: normal weights lose what the Lloyd-Max quantiser loses") {
  // Max 1960: mean squared error 0.009497 with 16 levels, 0.1175 with 4; choosing the
  // scale for each group gains a little.
  const std::vector<float> weights = normal(64 * 1024, 5);
  CHECK(relative_error(Packed(quant::LowBits::four, 64, 1024, weights), weights) < 0.0095);
  CHECK(relative_error(Packed(quant::LowBits::two, 64, 1024, weights), weights) < 0.1175);
}

TEST_CASE("lowbit: groups of very different size keep their own scale") {
  std::vector<float> weights = normal(8 * 512, 6);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (i % 512 < 128) weights[i] *= 10.0F;
  }
  const Packed packed(quant::LowBits::four, 8, 512, weights);
  std::vector<std::int8_t> levels(weights.size());
  quant::unpack_rows(packed.view(), 0, 8, levels.data());
  double error = 0;
  double power = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (i % 512 < 128) continue;
    const double d = weights[i] - levels[i] * packed.scales[i / 512];
    error += d * d;
    power += static_cast<double>(weights[i]) * weights[i];
  }
  // The small groups have about 10 integer levels a side to round to, so a little is lost.
  CHECK(error / power < 0.02);
}

TEST_CASE("lowbit: zero rows and ragged shapes unpack to what was packed") {
  std::vector<float> weights = normal(7 * 200, 7);
  std::fill(weights.begin() + 2 * 200, weights.begin() + 3 * 200, 0.0F);
  const Packed packed(quant::LowBits::four, 7, 200, weights);
  CHECK(packed.scales[2] == 0.0F);
  CHECK(packed.scales[7] == 0.0F);  // the row that pads the last block
  CHECK(relative_error(packed, weights) < 0.011);
  std::vector<std::int8_t> one(200);
  std::vector<std::int8_t> all(7 * 200);
  quant::unpack_rows(packed.view(), 0, 7, all.data());
  quant::unpack_rows(packed.view(), 5, 1, one.data());
  CHECK(std::memcmp(one.data(), all.data() + 5 * 200, 200) == 0);
}

TEST_CASE("lowbit kernels: every kernel gives the bits of ref, for any rows, blocks and tails") {
  for (const auto bits : {quant::LowBits::four, quant::LowBits::two}) {
    for (const std::size_t out : {1U, 4U, 37U, 130U}) {
      for (const std::size_t in : {16U, 128U, 328U}) {
        const std::vector<float> weights = normal(out * in, static_cast<unsigned>(out * in));
        const Packed packed(bits, out, in, weights);
        for (const std::size_t rows : {1U, 2U, 5U, 9U, 16U, 21U, 34U}) {
          const std::vector<float> x = normal(rows * in, static_cast<unsigned>(rows));
          quant::QuantizedRows q;
          quant::quantize_rows({x.data(), rows, in}, q);
          const auto run = [&](kernels::LowBitFunction function, std::size_t first, std::size_t last) {
            std::vector<float> y(rows * (out + 3), -1.0F);
            kernels::LowBitArgs args{};
            args.bits = static_cast<int>(bits);
            args.groups = packed.shape.groups();
            args.codes = packed.codes.get();
            args.multipliers = packed.multipliers.data();
            args.row_scales = packed.scales.data();
            args.row_sums = packed.sums.data();
            args.levels = reinterpret_cast<const std::int8_t(*)[16]>(quant::level_tables(bits).level.data());
            args.out = out;
            args.first_block = first;
            args.last_block = last;
            args.rows = rows;
            args.x = q.row(0);
            args.x_stride = q.stride;
            args.x_scales = q.scales.data();
            args.y = y.data();
            args.y_stride = out + 3;
            function(args);
            return y;
          };
          std::size_t count = 0;
          const kernels::QuantKernels* list = kernels::quant_kernel_list(count);
          const std::size_t blocks = packed.shape.row_blocks();
          const std::vector<float> expected = run(kernels::lowbit_matmul_ref, 0, blocks);
          for (std::size_t i = 0; i < count; ++i) {
            if (!list[i].supported()) continue;
            INFO(list[i].name << " bits " << static_cast<int>(bits) << " out " << out << " in " << in
                              << " rows " << rows);
            REQUIRE(run(list[i].lowbit, 0, blocks) == expected);
            // A part of the blocks writes its own columns alone.
            const std::vector<float> part = run(list[i].lowbit, blocks / 2, blocks);
            for (std::size_t m = 0; m < rows; ++m) {
              for (std::size_t n = 0; n < out + 3; ++n) {
                const float want = n < blocks / 2 * 4 ? -1.0F : expected[m * (out + 3) + n];
                REQUIRE(part[m * (out + 3) + n] == want);
              }
            }
          }
        }
      }
    }
  }
}

TEST_CASE("lowbit kernels: the product is near the f32 product of the unquantised numbers") {
  const std::size_t in = 2560;
  const std::vector<float> x = normal(in, 8);
  std::vector<float> weights = normal(8 * in, 9);
  std::vector<double> expected(8);
  for (std::size_t n = 0; n < 8; ++n) {
    for (std::size_t k = 0; k < in; ++k) expected[n] += static_cast<double>(x[k]) * weights[n * in + k];
  }
  for (std::size_t n = 0; n < 8; ++n) quant::rotate_row({weights.data() + n * in, in});
  const Packed packed(quant::LowBits::four, 8, in, weights);
  quant::QuantizedRows q;
  quant::quantize_rows({x.data(), 1, in}, q);
  std::vector<float> y(8);
  kernels::LowBitArgs args{};
  args.bits = 4;
  args.groups = packed.shape.groups();
  args.codes = packed.codes.get();
  args.multipliers = packed.multipliers.data();
  args.row_scales = packed.scales.data();
  args.row_sums = packed.sums.data();
  args.levels =
      reinterpret_cast<const std::int8_t(*)[16]>(quant::level_tables(quant::LowBits::four).level.data());
  args.out = 8;
  args.last_block = packed.shape.row_blocks();
  args.rows = 1;
  args.x = q.row(0);
  args.x_stride = q.stride;
  args.x_scales = q.scales.data();
  args.y = y.data();
  args.y_stride = 8;
  kernels::lowbit_matmul_ref(args);
  // Errors of 2560 products add as a random walk: sqrt(2560 * 0.0095) = 4.9 is one deviation.
  for (std::size_t n = 0; n < 8; ++n) CHECK(std::abs(y[n] - expected[n]) < 4 * 4.9);
}
