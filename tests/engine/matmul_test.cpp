#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "engine/ops/clipped_linear.h"
#include "engine/ops/matmul.h"
#include "engine/quant/packed_matrix.h"
#include "oneapi/dnnl/dnnl.hpp"
#include "tests/engine/invariance.h"
#include "tests/support/catch.h"

namespace {

using namespace reelfolio::engine;

/// Numbers in [-1, 1) from a fixed sequence.
std::vector<float> numbers(std::size_t count, std::uint32_t seed) {
  std::vector<float> values(count);
  for (float& value : values) {
    seed = seed * 1664525U + 1013904223U;
    value = static_cast<float>(static_cast<std::int32_t>(seed)) * 0x1p-31F;
  }
  return values;
}

float rounded(float value) {
  return bf16_to_f32(f32_to_bf16(value));
}

ops::Linear make_linear(const std::vector<float>& w, std::size_t out, std::size_t in, ops::WeightType type) {
  return {std::as_bytes(std::span(w)), DType::f32, out, in, type};
}

/// Largest difference to the sum in double, relative to the sum of magnitudes of its terms.
double worst_error(ConstMatrix x, const std::vector<float>& w, ConstMatrix y, bool bf16) {
  double worst = 0;
  for (std::size_t r = 0; r < x.rows; ++r) {
    for (std::size_t n = 0; n < y.cols; ++n) {
      double sum = 0;
      double magnitude = 1e-30;
      for (std::size_t k = 0; k < x.cols; ++k) {
        const float a = bf16 ? rounded(x.at(r, k)) : x.at(r, k);
        const float b = bf16 ? rounded(w[n * x.cols + k]) : w[n * x.cols + k];
        sum += static_cast<double>(a) * static_cast<double>(b);
        magnitude += std::abs(static_cast<double>(a) * static_cast<double>(b));
      }
      worst = std::max(worst, std::abs(static_cast<double>(y.at(r, n)) - sum) / magnitude);
    }
  }
  return worst;
}

}  // namespace

TEST_CASE("linear: products match sums in double, for odd sizes, strides and bucket borders") {
  for (const auto type : {ops::WeightType::f32, ops::WeightType::bf16}) {
    for (const auto& [out, in] : {std::pair<std::size_t, std::size_t>{1, 1}, {7, 19}, {48, 64}, {130, 257}}) {
      const auto w = numbers(out * in, 3);
      const ops::Linear linear = make_linear(w, out, in, type);
      CHECK(linear.out_size() == out);
      CHECK(linear.in_size() == in);
      CHECK(linear.memory_bytes() >= out * in * (type == ops::WeightType::f32 ? 4 : 2));
      for (const std::size_t rows : {1, 3, 5, 17, 65}) {
        // Both operands are blocks of wider matrices.
        const auto x = numbers(rows * (in + 5), 4);
        std::vector<float> y(rows * (out + 3), -7.0F);
        const ConstMatrix from(x.data(), rows, in, in + 5);
        const Matrix to(y.data(), rows, out, out + 3);
        linear.apply(from, to);
        INFO(out << " x " << in << ", rows " << rows);
        // Each f32 addition rounds by 2^-24 of a partial sum at most.
        CHECK(worst_error(from, w, to, type == ops::WeightType::bf16) <=
              static_cast<double>(in + 1) * 0x1p-24 + 1e-7);
        CHECK(y[out] == -7.0F);  // what lies between rows stays untouched
      }
    }
  }
}

TEST_CASE("linear: a row's bits depend neither on threads nor on the rows beside it") {
  const reelfolio::test::RestoreThreads restore;
  for (const auto type : {ops::WeightType::f32, ops::WeightType::bf16}) {
    for (const auto& [out, in] :
         {std::pair<std::size_t, std::size_t>{256, 2560}, {96, 4096}, {640, 256}, {33, 75}}) {
      const std::size_t rows = 530;  // more than one oneDNN call
      const auto w = numbers(out * in, 5);
      const auto x = numbers(rows * in, 6);
      ops::set_num_threads(1);
      const ops::Linear linear = make_linear(w, out, in, type);
      MatrixBuffer whole(rows, out);
      linear.apply(ConstMatrix(x.data(), rows, in), whole.view());
      for (const int threads : {1, 2, 3}) {
        ops::set_num_threads(threads);
        for (const std::size_t count : {1, 2, 4, 7, 16, 31, 64, 200, 530}) {
          const std::size_t first = rows - count;
          MatrixBuffer part(count, out);
          linear.apply(ConstMatrix(x.data() + first * in, count, in), part.view());
          INFO(out << " x " << in << ", threads " << threads << ", rows " << count);
          CHECK(std::memcmp(part.view().data, whole.row(first).data(), count * out * sizeof(float)) == 0);
        }
      }
    }
  }
}

TEST_CASE("linear: bf16 and f16 weights are taken as they are, at any alignment") {
  const std::size_t out = 20;
  const std::size_t in = 33;
  auto w = numbers(out * in, 8);
  for (float& value : w) value = rounded(value);
  std::vector<std::byte> bytes(1 + 2 * w.size());
  for (std::size_t i = 0; i < w.size(); ++i) {
    const std::uint16_t bits = f32_to_bf16(w[i]);
    std::memcpy(bytes.data() + 1 + 2 * i, &bits, 2);
  }
  const auto x = numbers(4 * in, 9);
  const ConstMatrix from(x.data(), 4, in);
  for (const auto type : {ops::WeightType::f32, ops::WeightType::bf16}) {
    MatrixBuffer a(4, out);
    MatrixBuffer b(4, out);
    make_linear(w, out, in, type).apply(from, a.view());
    ops::Linear(std::span(bytes).subspan(1), DType::bf16, out, in, type).apply(from, b.view());
    CHECK(std::memcmp(a.view().data, b.view().data, 4 * out * sizeof(float)) == 0);
  }
  // 0.5 in f16
  const std::vector<std::uint16_t> halves(out * in, 0x3800);
  MatrixBuffer sums(4, out);
  ops::Linear(std::as_bytes(std::span(halves)), DType::f16, out, in, ops::WeightType::f32)
      .apply(from, sums.view());
  CHECK(worst_error(from, std::vector<float>(out * in, 0.5F), sums.view(), false) < 1e-5);
}

TEST_CASE("linear: packed bf16 weights give the products of the weights they were packed from") {
  for (const auto& [out, in] :
       {std::pair<std::size_t, std::size_t>{1, 1}, {7, 19}, {64, 32}, {130, 257}, {96, 640}}) {
    const auto w = numbers(out * in, 12);
    quant::PackedBuffer packed =
        quant::pack_matrix({quant::Format::bf16, out, in}, [&, in = in](std::size_t n, std::span<float> row) {
          std::copy_n(w.begin() + static_cast<std::ptrdiff_t>(n * in), in, row.begin());
        });
    std::vector<float> row(in);
    quant::unpack_row(packed.view(), out - 1, row);
    for (std::size_t k = 0; k < in; ++k) CHECK(row[k] == rounded(w[(out - 1) * in + k]));
    const ops::Linear linear(packed.view(), nullptr);
    CHECK(linear.packed() == nullptr);  // no integers
    CHECK(linear.memory_bytes() >= out * in * 2);
    for (const std::size_t rows : {1, 2, 6, 19, 70}) {
      const auto x = numbers(rows * in, 13);
      MatrixBuffer y(rows, out);
      linear.apply(ConstMatrix(x.data(), rows, in), y.view());
      INFO(out << " x " << in << ", rows " << rows);
      CHECK(worst_error(ConstMatrix(x.data(), rows, in), w, y.view(), true) <=
            static_cast<double>(in + 1) * 0x1p-24 + 1e-7);
    }
  }
}

TEST_CASE("linear: the packed bf16 layout is the one that oneDNN knows by name") {
  const std::size_t out = 130;
  const std::size_t in = 100;
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const auto dims =
      dnnl::memory::dims{static_cast<dnnl::memory::dim>(in), static_cast<dnnl::memory::dim>(out)};
  const dnnl::memory::desc plain(dims, dnnl::memory::data_type::bf16, dnnl::memory::dims{1, dims[0]});
  const dnnl::memory::desc blocked(dims, dnnl::memory::data_type::bf16, dnnl::memory::format_tag::BA16a64b2a);
  std::vector<float> w = numbers(out * in, 14);
  std::vector<std::uint16_t> halves;
  for (const float value : w) halves.push_back(f32_to_bf16(value));
  const quant::PackedBuffer packed =
      quant::pack_matrix({quant::Format::bf16, out, in}, [&](std::size_t n, std::span<float> row) {
        std::copy_n(w.begin() + static_cast<std::ptrdiff_t>(n * in), in, row.begin());
      });
  REQUIRE(packed.bytes().size() == blocked.get_size());
  std::vector<std::byte> expected(blocked.get_size());
  dnnl::memory from(plain, engine, halves.data());
  dnnl::memory to(blocked, engine, expected.data());
  dnnl::reorder(from, to).execute(stream, from, to);
  stream.wait();
  CHECK(std::equal(expected.begin(), expected.end(), packed.bytes().begin()));
}

TEST_CASE("clipped linear: clamps before and after") {
  const std::vector<float> identity = {1, 0, 0, 1};
  ops::ClipBounds bounds;
  bounds.input_min = -1;
  bounds.input_max = 2;
  bounds.output_max = 1.5F;
  const ops::ClippedLinear clipped(make_linear(identity, 2, 2, ops::WeightType::f32), bounds);
  const std::vector<float> x = {-5, 0.5F, 1.75F, 9};
  MatrixBuffer y(2, 2);
  clipped.apply(ConstMatrix(x.data(), 2, 2), y.view());
  CHECK(y.view().at(0, 0) == -1.0F);
  CHECK(y.view().at(0, 1) == 0.5F);
  CHECK(y.view().at(1, 0) == 1.5F);
  CHECK(y.view().at(1, 1) == 1.5F);
}

TEST_CASE("bf16 rounds to nearest even and keeps NaN and infinity") {
  CHECK(f32_to_bf16(1.0F) == 0x3F80);
  CHECK(f32_to_bf16(1.00390625F) == 0x3F80);  // halfway, even below
  CHECK(f32_to_bf16(1.01171875F) == 0x3F82);  // halfway, even above
  CHECK(bf16_to_f32(f32_to_bf16(INFINITY)) == INFINITY);
  CHECK(std::isnan(bf16_to_f32(f32_to_bf16(NAN))));
  CHECK(f16_to_f32(0x3C00) == 1.0F);
  CHECK(f16_to_f32(0x0001) == 0x1p-24F);
  CHECK(f16_to_f32(0xFC00) == -INFINITY);
}

TEST_CASE("the description names library and instruction set") {
  CHECK(ops::matmul_description().find("oneDNN ") == 0);
}
