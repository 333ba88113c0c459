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

/// Candidates after temperature, top-k and top-p (gemma4.md, section 11), by descending
/// probability and then ascending id; probabilities add up to 1.
///   logits are divided by the temperature (> 0);
///   top-k keeps every logit not below the k-th largest, so ties at the border all stay;
///   top-p keeps a token if those strictly ahead of it add up to less than top_p, at
///   least one. Equal logits stand in the order of descending ids there, as the
///   reference's ascending sort leaves them.
std::vector<std::pair<TokenId, double>> candidates(std::span<const float> logits,
                                                   const SamplingOptions& options);

/// Chooses a sequence's tokens. Owns its random numbers: a sequence's choices depend on
/// its seed and its logits alone. One thread at a time.
class Sampler {
 public:
  /// suppressed: ids that are never chosen.
  Sampler(const SamplingOptions& options, std::vector<TokenId> suppressed);

  /// Sets the suppressed logits to -infinity and chooses an id.
  TokenId choose(std::span<float> logits);

 private:
  SamplingOptions options_;
  std::vector<TokenId> suppressed_;
  Random random_;
};

}  // namespace reelfolio::engine::sampling
