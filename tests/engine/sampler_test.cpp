#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "engine/sampling/repetition.h"
#include "engine/sampling/sampler.h"
#include "tests/support/catch.h"
#include "tests/support/golden_kit.h"

namespace {

using namespace reelfolio::engine;
using namespace reelfolio::engine::sampling;

SamplingOptions options(float temperature, int top_k, float top_p, std::uint64_t seed = 0) {
  SamplingOptions result;
  result.temperature = temperature;
  result.top_k = top_k;
  result.top_p = top_p;
  result.seed = seed;
  return result;
}

bool ends_in_loop(const std::vector<TokenId>& ids) {
  RepetitionDetector detector;
  bool loop = false;
  for (const TokenId id : ids) loop = detector.push(id) || loop;
  return loop;
}

}  // namespace

TEST_CASE("sampler: probabilities match the reference for every setting") {
  for (const auto& kit : reelfolio::test::golden_kits("text")) {
    if (!std::filesystem::exists(kit / "golden" / "sampler.json")) continue;
    const reelfolio::test::GoldenTensors golden(kit / "golden" / "sampler.safetensors");
    for (const auto& setting : reelfolio::test::golden_json(kit / "golden" / "sampler.json")) {
      INFO("setting " << setting.dump());
      const auto logits = golden.get(setting.at("logits").get<std::string>()).values;
      const auto expected = golden.get(setting.at("probs").get<std::string>()).values;
      std::vector<float> made(logits.size(), 0.0F);
      const auto chosen =
          candidates(logits, options(setting.at("temperature"), setting.at("top_k"), setting.at("top_p")));
      for (const auto& [id, probability] : chosen) {
        made[static_cast<std::size_t>(id)] = static_cast<float>(probability);
      }
      CHECK(chosen.size() == setting.at("kept").get<std::size_t>());
      CHECK(reelfolio::test::worst_difference(made, expected) <= 1e-5);
    }
  }
}

TEST_CASE("sampler: greedy takes the lowest id among equals and passes over NaN") {
  CHECK(greedy(std::vector<float>{1, 3, 3, 2}) == 1);
  CHECK(greedy(std::vector<float>{NAN, -5, NAN, -4}) == 3);
}

TEST_CASE("sampler: suppressed ids are never chosen") {
  std::vector<float> logits = {1, 9, 2, 8};
  CHECK(Sampler(options(0, 0, 1), {1}).choose(logits) == 3);
  Sampler warm(options(1, 0, 1, 5), {1, 3});
  for (int i = 0; i < 200; ++i) {
    std::vector<float> row = {1, 9, 2, 8};
    const TokenId id = warm.choose(row);
    CHECK((id == 0 || id == 2));
  }
}

TEST_CASE("sampler: frequencies follow the probabilities, and a seed repeats its choices") {
  const std::vector<float> logits = {std::log(0.5F), std::log(0.3F), std::log(0.2F)};
  Sampler sampler(options(1, 0, 1, 42), {});
  Sampler again(options(1, 0, 1, 42), {});
  Sampler other(options(1, 0, 1, 43), {});
  std::map<TokenId, int> counts;
  int different = 0;
  for (int i = 0; i < 20000; ++i) {
    auto row = logits;
    const TokenId id = sampler.choose(row);
    ++counts[id];
    CHECK(again.choose(row) == id);
    different += other.choose(row) != id ? 1 : 0;
  }
  // Four standard deviations of a binomial of 20000 are at most 283.
  CHECK(std::abs(counts[0] - 10000) < 283);
  CHECK(std::abs(counts[1] - 6000) < 283);
  CHECK(std::abs(counts[2] - 4000) < 283);
  CHECK(different > 1000);
}

TEST_CASE("random: the first numbers of xoshiro256** seeded with 0") {
  // Published beside the generators: splitmix64(0) starts e220a8397b1dcdaf, 6e789e6aa1b965f4,
  // 06c45d188009454f, f88bb8a8724c81ec; the first output is rotl(s1 * 5, 7) * 9.
  const std::uint64_t s1 = 0x6E789E6AA1B965F4ULL;
  const std::uint64_t product = s1 * 5;
  Random random(0);
  CHECK(random.next() == ((product << 7) | (product >> 57)) * 9);
  const double value = random.uniform();
  CHECK(value >= 0.0);
  CHECK(value < 1.0);
}

TEST_CASE("repetition: a phrase said over and over is a loop, whatever stood before") {
  for (const std::size_t period : {std::size_t{1}, std::size_t{2}, std::size_t{7}, std::size_t{64}}) {
    INFO("period " << period);
    std::vector<TokenId> ids = {900, 901, 902, 903, 904};
    const std::size_t needed = std::max(kMinTokens, kMinRepeats * period);
    for (std::size_t i = 0; i < needed; ++i) ids.push_back(static_cast<TokenId>(i % period));
    CHECK(ends_in_loop(ids));
    ids.pop_back();
    CHECK_FALSE(ends_in_loop(ids));
  }
}

TEST_CASE("repetition: tables, counting and rules are no loop") {
  std::vector<TokenId> counting;
  for (TokenId i = 0; i < 2000; ++i) {
    counting.push_back(5);
    counting.push_back(i / 100);
    counting.push_back(i % 100);
  }
  CHECK_FALSE(ends_in_loop(counting));

  // A 100-character rule of dashes and forty equal cells, then other text.
  std::vector<TokenId> table(100, 17);
  for (int i = 0; i < 40; ++i) table.insert(table.end(), {1, 2, 3});
  for (TokenId i = 0; i < 100; ++i) table.push_back(i);
  CHECK_FALSE(ends_in_loop(table));

  // A period beyond the longest one.
  std::vector<TokenId> long_period;
  for (std::size_t i = 0; i < 3000; ++i) long_period.push_back(static_cast<TokenId>(i % (kMaxPeriod + 1)));
  CHECK_FALSE(ends_in_loop(long_period));
}
