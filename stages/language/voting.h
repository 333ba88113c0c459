#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace reelfolio::stages {

/// A short answer as votes are counted: lower-case (ASCII), white space folded, without quotes
/// around it and without a full stop at its end.
std::string vote_key(std::string_view answer);

struct Ballot {
  std::size_t first = 0;  ///< index of the first answer that says so
  std::size_t count = 0;
};

/// The different answers, the most frequent first; of equally frequent ones the earlier.
std::vector<Ballot> count_votes(std::span<const std::string> answers);

}  // namespace reelfolio::stages
