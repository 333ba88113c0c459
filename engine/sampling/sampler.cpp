#include "engine/sampling/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>
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

namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

/// candidates() of `kept`, which holds no -infinity and is not empty.
std::vector<std::pair<TokenId, double>> filtered(std::vector<Candidate> kept,
                                                 const SamplingOptions& options) {
  const auto top_k = static_cast<std::size_t>(std::max(options.top_k, 0));
  if (top_k > 0 && top_k < kept.size()) {
    std::vector<float> sorted;
    sorted.reserve(kept.size());
    for (const Candidate& each : kept) sorted.push_back(each.first);
    const auto border = sorted.begin() + static_cast<std::ptrdiff_t>(top_k - 1);
    std::nth_element(sorted.begin(), border, sorted.end(), std::greater<>());
    std::erase_if(kept, [limit = *border](const Candidate& each) { return each.first < limit; });
  }
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
  if (options.min_p > 0.0F) {
    // The likeliest weighs 1.
    std::size_t count = 1;
    sum = result.front().second;
    for (; count < result.size() && result[count].second >= static_cast<double>(options.min_p); ++count) {
      sum += result[count].second;
    }
    result.resize(count);
  }
  for (auto& [id, weight] : result) weight /= sum;
  std::stable_sort(result.begin(), result.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first < b.first;
  });
  return result;
}

/// f(id) for each allowed id of the vocabulary, the mask's first.
template <class F>
void each_allowed(const AllowedTokens& allowed, std::size_t vocab_size, F f) {
  for (std::size_t word = 0; word < allowed.mask.size(); ++word) {
    if (allowed.mask[word] == ~std::uint64_t{0} && 64 * word + 64 <= vocab_size) {
      for (std::size_t id = 64 * word; id < 64 * word + 64; ++id) f(id);
      continue;
    }
    for (std::uint64_t bits = allowed.mask[word]; bits != 0; bits &= bits - 1) {
      const std::size_t id = 64 * word + static_cast<std::size_t>(std::countr_zero(bits));
      if (id < vocab_size) f(id);
    }
  }
  for (const TokenId id : allowed.also) {
    if (id >= 0 && static_cast<std::size_t>(id) < vocab_size) f(static_cast<std::size_t>(id));
  }
}

}  // namespace

std::vector<std::pair<TokenId, double>> candidates(std::span<const float> logits,
                                                   const SamplingOptions& options) {
  std::vector<Candidate> kept;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    // A suppressed logit is -infinity: no candidate even where top-k is off. NaN is none either.
    if (logits[i] > kMinusInfinity) kept.emplace_back(logits[i], static_cast<TokenId>(i));
  }
  if (kept.empty()) return {{greedy(logits), 1.0}};
  return filtered(std::move(kept), options);
}

void penalise(std::span<float> logits, std::span<const TokenId> ids, float penalty) {
  for (const TokenId id : ids) {
    float& logit = logits[static_cast<std::size_t>(id)];
    logit = logit > 0 ? logit / penalty : logit * penalty;
  }
}

double log_probability(std::span<const float> logits, TokenId id) {
  const float most = logits[static_cast<std::size_t>(greedy(logits))];
  double sum = 0;
  for (const float logit : logits) {
    if (logit > kMinusInfinity) sum += std::exp(static_cast<double>(logit) - static_cast<double>(most));
  }
  return static_cast<double>(logits[static_cast<std::size_t>(id)]) - static_cast<double>(most) -
         std::log(sum);
}

Sampler::Sampler(const SamplingOptions& options, std::vector<TokenId> suppressed)
    : options_(options), suppressed_(std::move(suppressed)), random_(options.seed) {}

void Sampler::suppress(std::span<float> logits) const {
  for (const TokenId id : suppressed_) {
    if (id >= 0 && static_cast<std::size_t>(id) < logits.size())
      logits[static_cast<std::size_t>(id)] = kMinusInfinity;
  }
}

TokenId Sampler::draw(const std::vector<std::pair<TokenId, double>>& choices) {
  const double target = random_.uniform();
  double passed = 0;
  for (const auto& [id, probability] : choices) {
    passed += probability;
    if (target < passed) return id;
  }
  // The sum of the probabilities may fall short of 1 by rounding.
  return choices.back().first;
}

TokenId Sampler::choose(std::span<float> logits) {
  suppress(logits);
  if (options_.temperature <= 0.0F) return greedy(logits);
  return draw(candidates(logits, options_));
}

TokenId Sampler::choose(std::span<float> logits, const AllowedTokens& allowed) {
  suppress(logits);
  if (options_.temperature <= 0.0F) {
    float best = kMinusInfinity;
    std::optional<std::size_t> chosen;
    std::size_t lowest = logits.size();
    each_allowed(allowed, logits.size(), [&](std::size_t id) {
      lowest = std::min(lowest, id);
      // Ids ascend but for those behind the mask.
      if (logits[id] > best || (chosen && logits[id] == best && id < *chosen)) {
        best = logits[id];
        chosen = id;
      }
    });
    return static_cast<TokenId>(chosen.value_or(lowest));
  }
  std::vector<Candidate> kept;
  std::size_t lowest = logits.size();
  each_allowed(allowed, logits.size(), [&](std::size_t id) {
    lowest = std::min(lowest, id);
    if (logits[id] > kMinusInfinity) kept.emplace_back(logits[id], static_cast<TokenId>(id));
  });
  // A number is drawn even so: what follows does not depend on how many could be chosen.
  if (kept.empty()) kept.emplace_back(0.0F, static_cast<TokenId>(lowest));
  return draw(filtered(std::move(kept), options_));
}

}  // namespace reelfolio::engine::sampling
