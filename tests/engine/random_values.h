#pragma once

#include <cstddef>
#include <random>
#include <vector>

namespace reelfolio::test {

/// `count` deviates of the standard normal distribution, the same for the same seed.
inline std::vector<float> normal(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> distribution;
  std::vector<float> values(count);
  for (float& v : values) v = distribution(random);
  return values;
}

}  // namespace reelfolio::test
