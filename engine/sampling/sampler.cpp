#include "engine/sampling/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace reelfolio::engine::sampling {

namespace {

std::uint64_t rotate_left(std::uint64_t x, int bits) {
  return (x << bits) | (x >> (64 - bits));
}

}  // namespace

Random::Random(std::uint64_t seed) {
  for (std::uint64_t& word : state_) {
    seed += 0x9E3779B97F4A7C15ULL;
    std::uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    word = z ^ (z >> 31);
  }
}

std::uint64_t Random::next() {
  const std::uint64_t result = rotate_left(state_[1] * 5, 7) * 9;
  const std::uint64_t shifted = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= shifted;
  state_[3] = rotate_left(state_[3], 45);
  return result;
}

double Random::uniform() {
  return static_cast<double>(next() >> 11) * 0x1p-53;
}

TokenId greedy(std::span<const float> logits) {
  float best = -std::numeric_limits<float>::infinity();
  std::size_t id = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > best) {
      best = logits[i];
      id = i;
    }
  }
  return static_cast<TokenId>(id);
}

std::vector<std::pair<TokenId, double>> candidates(std::span<const float> logits,
                                                   const SamplingOptions& options) {
  std::vector<std::pair<float, TokenId>> kept;
  float limit = -std::numeric_limits<float>::infinity();
  const auto top_k = static_cast<std::size_t>(std::max(options.top_k, 0));
  if (top_k > 0 && top_k < logits.size()) {
    std::vector<float> sorted(logits.begin(), logits.end());
    const auto border = sorted.begin() + static_cast<std::ptrdiff_t>(top_k - 1);
    std::nth_element(sorted.begin(), border, sorted.end(), std::greater<>());
    limit = *border;
  }
  for (std::size_t i = 0; i < logits.size(); ++i) {
    // A suppressed logit is -infinity: no candidate even where top-k is off.
    if (logits[i] >= limit && logits[i] > -std::numeric_limits<float>::infinity()) {
      kept.emplace_back(logits[i], static_cast<TokenId>(i));
    }
  }
  if (kept.empty()) return {{greedy(logits), 1.0}};
  std::sort(kept.begin(), kept.end(), std::greater<>());

  std::vector<std::pair<TokenId, double>> result;
  result.reserve(kept.size());
  double sum = 0;
  for (const auto& [logit, id] : kept) {
    const double weight = std::exp((static_cast<double>(logit) - static_cast<double>(kept.front().first)) /
                                   static_cast<double>(options.temperature));
    result.emplace_back(id, weight);
    sum += weight;
  }
  if (options.top_p < 1.0F) {
    double ahead = 0;
    std::size_t count = 0;
    for (; count < result.size(); ++count) {
      if (count > 0 && ahead / sum >= static_cast<double>(options.top_p)) break;
      ahead += result[count].second;
    }
    result.resize(count);
    sum = ahead;
  }
  for (auto& [id, weight] : result) weight /= sum;
  std::stable_sort(result.begin(), result.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  return result;
}

Sampler::Sampler(const SamplingOptions& options, std::vector<TokenId> suppressed)
    : options_(options), suppressed_(std::move(suppressed)), random_(options.seed) {}

TokenId Sampler::choose(std::span<float> logits) {
  for (const TokenId id : suppressed_) {
    if (id >= 0 && static_cast<std::size_t>(id) < logits.size()) {
      logits[static_cast<std::size_t>(id)] = -std::numeric_limits<float>::infinity();
    }
  }
  if (options_.temperature <= 0.0F) return greedy(logits);
  const auto choices = candidates(logits, options_);
  const double target = random_.uniform();
  double passed = 0;
  for (const auto& [id, probability] : choices) {
    passed += probability;
    if (target < passed) return id;
  }
  // The sum of the probabilities may fall short of 1 by rounding.
  return choices.back().first;
}

}  // namespace reelfolio::engine::sampling
