#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "engine/token_id.h"

namespace reelfolio::engine::sampling {

/// xoshiro256** (Blackman & Vigna 2018), seeded through splitmix64: the same numbers on
/// every machine and compiler, unlike the distributions of the standard library.
class Random {
 public:
  explicit Random(std::uint64_t seed);
  std::uint64_t next();
  /// Uniform in [0, 1), a multiple of 2^-53.
  double uniform();

 private:
  std::uint64_t state_[4];
};

/// The id of the largest logit; the lowest such id. NaN never wins against a number.
TokenId greedy(std::span<const float> logits);

/// A token that may be chosen, with its logit.
using Candidate = std::pair<float, TokenId>;

/// Candidates after temperature, top-k, top-p (gemma4.md, section 11) and min-p, by descending
/// probability and then ascending id; probabilities add up to 1.
///   logits are divided by the temperature (> 0);
///   top-k keeps every logit not below the k-th largest, so ties at the border all stay;
///   top-p keeps a token if those strictly ahead of it add up to less than top_p, at
///   least one. Equal logits stand in the order of descending ids there, as the
///   reference's ascending sort leaves them;
///   min-p drops what is less likely than min_p times the likeliest.
std::vector<std::pair<TokenId, double>> candidates(std::span<const float> logits,
                                                   const SamplingOptions& options);

/// The tokens of which one is to be chosen: bits by id (bit i % 64 of word i / 64), and others.
struct AllowedTokens {
  std::span<const std::uint64_t> mask;
  std::span<const TokenId> also;
};

/// Divides positive logits of the ids by `penalty` and multiplies negative ones (Keskar et al. 2019).
void penalise(std::span<float> logits, std::span<const TokenId> ids, float penalty);

/// Natural logarithm of the softmax of `logits` at `id`. NaN and -infinity count as nothing.
double log_probability(std::span<const float> logits, TokenId id);

/// Chooses a sequence's tokens. Owns its random numbers: a sequence's choices depend on
/// its seed and its logits alone. One thread at a time.
class Sampler {
 public:
  /// suppressed: ids that are never chosen.
  Sampler(const SamplingOptions& options, std::vector<TokenId> suppressed);

  /// Sets the suppressed logits to -infinity and chooses an id.
  TokenId choose(std::span<float> logits);
  /// The same among `allowed`, which is not empty. Where no allowed logit is a number above
  /// -infinity, the lowest allowed id.
  TokenId choose(std::span<float> logits, const AllowedTokens& allowed);

 private:
  void suppress(std::span<float> logits) const;
  TokenId draw(const std::vector<std::pair<TokenId, double>>& choices);

  SamplingOptions options_;
  std::vector<TokenId> suppressed_;
  Random random_;
};

}  // namespace reelfolio::engine::sampling
