#include "engine/ops/attention.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "engine/kernels/row_kernels.h"
#include "engine/ops/matmul.h"
#include "tests/engine/invariance.h"
#include "tests/support/catch.h"

namespace {

using namespace reelfolio::engine;
using reelfolio::test::same_bits;

MatrixBuffer random_matrix(std::size_t rows, std::size_t cols, float spread, unsigned seed) {
  MatrixBuffer matrix(rows, cols);
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0F, spread);
  for (std::size_t r = 0; r < rows; ++r) {
    for (float& value : matrix.row(r)) value = normal(generator);
  }
  return matrix;
}

/// In double precision, straight from the definition.
MatrixBuffer exact_attention(ConstMatrix q, ConstMatrix k, ConstMatrix v, std::size_t heads) {
  MatrixBuffer out(q.rows, q.cols);
  const std::size_t head_dim = q.cols / heads;
  for (std::size_t h = 0; h < heads; ++h) {
    for (std::size_t s = 0; s < q.rows; ++s) {
      std::vector<double> weights(k.rows);
      for (std::size_t t = 0; t < k.rows; ++t) {
        for (std::size_t d = h * head_dim; d < (h + 1) * head_dim; ++d) {
          weights[t] += static_cast<double>(q.at(s, d)) * k.at(t, d);
        }
      }
      const double highest = *std::max_element(weights.begin(), weights.end());
      double total = 0;
      for (double& weight : weights) total += weight = std::exp(weight - highest);
      for (std::size_t d = h * head_dim; d < (h + 1) * head_dim; ++d) {
        double sum = 0;
        for (std::size_t t = 0; t < k.rows; ++t) sum += weights[t] / total * v.at(t, d);
        out.row(s)[d] = static_cast<float>(sum);
      }
    }
  }
  return out;
}

MatrixBuffer run(const kernels::AttentionKernel& kernel, ConstMatrix q, ConstMatrix k, ConstMatrix v,
                 std::size_t heads) {
  MatrixBuffer out(q.rows, q.cols);
  MatrixBuffer scratch;
  ops::attention(kernel, q, k, v, heads, out.view(), scratch);
  return out;
}

float worst_difference(const MatrixBuffer& a, const MatrixBuffer& b) {
  float worst = 0;
  for (std::size_t r = 0; r < a.rows(); ++r) {
    for (std::size_t c = 0; c < a.cols(); ++c) {
      const float difference = std::abs(a.row(r)[c] - b.row(r)[c]);
      worst = difference <= worst ? worst : difference;  // NaN counts as worst
    }
  }
  return worst;
}

}  // namespace

TEST_CASE("attention: every kernel agrees with the definition") {
  struct Case {
    std::size_t queries, keys, heads, head_dim;
  };
  for (const auto* kernel : kernels::attention_kernels()) {
    for (const auto [queries, keys, heads, head_dim] :
         {Case{1, 1, 1, 64}, Case{1, 5, 2, 16}, Case{6, 63, 1, 64}, Case{7, 64, 3, 20}, Case{49, 65, 2, 64},
          Case{100, 200, 2, 48}, Case{130, 130, 1, 4}}) {
      const std::size_t cols = heads * head_dim;
      const MatrixBuffer q = random_matrix(queries, cols, 0.5F, 1);
      const MatrixBuffer k = random_matrix(keys, cols, 0.5F, 2);
      const MatrixBuffer v = random_matrix(keys, cols, 1.0F, 3);
      const MatrixBuffer out = run(*kernel, q.view(), k.view(), v.view(), heads);
      const float worst = worst_difference(out, exact_attention(q.view(), k.view(), v.view(), heads));
      // bf16 keeps 8 bits: a score errs by about 2^-8 times a few units, a value by 2^-9.
      const float limit = kernel->type == ops::WeightType::f32 ? 1e-5F : 0.03F;
      CAPTURE(kernel->name, queries, keys, heads, head_dim, worst);
      CHECK(worst <= limit);
    }
  }
}

TEST_CASE("attention: scores of hundreds neither overflow nor vanish") {
  // Keys are multiples of the query: the largest wins, in rising and in falling order.
  for (const auto* kernel : kernels::attention_kernels()) {
    for (const bool rising : {true, false}) {
      constexpr std::size_t kKeys = 300;
      MatrixBuffer q(1, 16);
      MatrixBuffer k(kKeys, 16);
      MatrixBuffer v(kKeys, 16);
      std::fill_n(q.row(0).data(), 16, 8.0F);
      for (std::size_t t = 0; t < kKeys; ++t) {
        const float rank = static_cast<float>(rising ? t : kKeys - 1 - t);
        std::fill_n(k.row(t).data(), 16, (rank - 150.0F) * 0.5F);
        std::fill_n(v.row(t).data(), 16, rank == 299.0F ? 3.0F : -1.0F);
      }
      const MatrixBuffer out = run(*kernel, q.view(), k.view(), v.view(), 1);
      CAPTURE(kernel->name, rising, out.row(0)[0]);
      // bf16 holds half-integers of this size to 0.25, so that the best score stays the best.
      // The bf16 kernel's exp errs by 3.5e-6, which its rounded weights do not share.
      CHECK(std::abs(out.row(0)[0] - 3.0F) < (kernel->type == ops::WeightType::f32 ? 1e-5F : 1e-4F));
    }
  }
}

TEST_CASE("attention: equal values come out as they are") {
  for (const auto* kernel : kernels::attention_kernels()) {
    const MatrixBuffer q = random_matrix(10, 64, 1.0F, 4);
    const MatrixBuffer k = random_matrix(101, 64, 1.0F, 5);
    MatrixBuffer v(101, 64);
    for (std::size_t t = 0; t < v.rows(); ++t) std::fill_n(v.row(t).data(), 64, 1.5F);
    const MatrixBuffer out = run(*kernel, q.view(), k.view(), v.view(), 1);
    const float limit = kernel->type == ops::WeightType::f32 ? 1e-6F : 0.01F;
    CAPTURE(kernel->name);
    for (std::size_t s = 0; s < 10; ++s) {
      for (const float value : out.row(s)) CHECK(std::abs(value - 1.5F) <= limit);
    }
  }
}

TEST_CASE("attention: a row's bits depend neither on its neighbours nor on the threads") {
  const std::size_t heads = 3;
  const MatrixBuffer q = random_matrix(151, 3 * 64, 0.7F, 6);
  const MatrixBuffer k = random_matrix(170, 3 * 64, 0.7F, 7);
  const MatrixBuffer v = random_matrix(170, 3 * 64, 1.0F, 8);
  const int before = ops::num_threads();
  for (const auto* kernel : kernels::attention_kernels()) {
    CAPTURE(kernel->name);
    ops::set_num_threads(1);
    const MatrixBuffer all = run(*kernel, q.view(), k.view(), v.view(), heads);
    for (const int threads : {2, 3}) {
      ops::set_num_threads(threads);
      const MatrixBuffer again = run(*kernel, q.view(), k.view(), v.view(), heads);
      for (std::size_t s = 0; s < q.rows(); ++s) CHECK(same_bits(again.row(s), all.row(s)));
    }
    for (const std::size_t s : {0, 5, 47, 48, 150}) {
      const MatrixBuffer alone = run(*kernel, q.view().row_block(s, 1), k.view(), v.view(), heads);
      CAPTURE(s);
      CHECK(same_bits(alone.row(0), all.row(s)));
    }
  }
  ops::set_num_threads(before);
}

TEST_CASE("attention: the result may replace the queries") {
  const MatrixBuffer k = random_matrix(90, 128, 0.7F, 9);
  for (const auto* kernel : kernels::attention_kernels()) {
    MatrixBuffer q = random_matrix(90, 128, 0.7F, 10);
    const MatrixBuffer apart = run(*kernel, q.view(), k.view(), k.view(), 2);
    MatrixBuffer scratch;
    ops::attention(*kernel, q.view(), k.view(), k.view(), 2, q.view(), scratch);
    CAPTURE(kernel->name);
    for (std::size_t s = 0; s < q.rows(); ++s) CHECK(same_bits(q.row(s), apart.row(s)));
  }
}

TEST_CASE("attention: the forced table of row kernels limits the choice") {
  REQUIRE(kernels::force_row_kernels("ref"));
  CHECK(kernels::best_attention_kernel(ops::WeightType::bf16).name == "ref");
  CHECK(kernels::best_attention_kernel(ops::WeightType::f32).name == "ref");
  if (kernels::force_row_kernels("avx2")) {
    CHECK(kernels::best_attention_kernel(ops::WeightType::bf16).name == "avx2");
  }
  REQUIRE(kernels::force_row_kernels("auto"));
  CHECK(kernels::best_attention_kernel(ops::WeightType::bf16).name ==
        kernels::attention_kernels().front()->name);
  CHECK(kernels::best_attention_kernel(ops::WeightType::f32).type == ops::WeightType::f32);
}

TEST_CASE("attention int8: every kernel gives the same bits, near the exact result, for any shapes") {
  for (const std::size_t keys : {1U, 63U, 64U, 200U}) {
    for (const std::size_t head_dim : {16U, 64U}) {
      const std::size_t heads = 2;
      const MatrixBuffer q = random_matrix(53, heads * head_dim, 1.0F, 11);
      MatrixBuffer k = random_matrix(keys, heads * head_dim, 1.0F, 12);
      const MatrixBuffer v = random_matrix(keys, heads * head_dim, 1.0F, 13);
      // A channel far larger than the rest, as norms with uneven weights leave them.
      for (std::size_t t = 0; t < keys; ++t) k.row(t)[3] *= 4.0F;
      const MatrixBuffer exact = exact_attention(q.view(), k.view(), v.view(), heads);
      const auto list = kernels::int8_attention_kernels();
      REQUIRE(list.back()->name == "int8_ref");
      const MatrixBuffer expected = run(*list.back(), q.view(), k.view(), v.view(), heads);
      double error = 0;
      double power = 0;
      for (std::size_t r = 0; r < q.rows(); ++r) {
        for (std::size_t c = 0; c < q.cols(); ++c) {
          const double difference = expected.row(r)[c] - exact.row(r)[c];
          error += difference * difference;
          power += static_cast<double>(exact.row(r)[c]) * exact.row(r)[c];
        }
      }
      INFO(keys << " keys of " << head_dim << ", relative error " << std::sqrt(error / power));
      CHECK(std::sqrt(error / power) < 0.05);
      for (const auto* kernel : list) {
        INFO(kernel->name);
        CHECK(worst_difference(run(*kernel, q.view(), k.view(), v.view(), heads), expected) == 0.0F);
      }
    }
  }
}
