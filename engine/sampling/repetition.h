#pragma once

#include <cstddef>
#include <vector>

#include "engine/token_id.h"

namespace reelfolio::engine::sampling {

/// Longest period, in tokens, of a loop that is recognised.
inline constexpr std::size_t kMaxPeriod = 64;
/// A loop is cut off once its period has come this often in a row ...
inline constexpr std::size_t kMinRepeats = 12;
/// ... and fills this many tokens. Short periods need more: a row of dashes, a column of
/// zeros or a table of equal lines is sensible for longer than it takes to repeat a word.
inline constexpr std::size_t kMinTokens = 256;

/// Notices that a text has become a loop: its last tokens are one period of 1 to
/// kMaxPeriod tokens over and over, without any change, at least kMinRepeats times and
/// over at least kMinTokens tokens. Counting columns ("1, 2, 3, ...") change and never fire.
///
/// Takes constant time a token for each period. One thread at a time.
class RepetitionDetector {
 public:
  /// Adds a token; true if the text now ends in a loop.
  bool push(TokenId id);

 private:
  std::vector<TokenId> history_;  ///< ring of the last kMaxPeriod tokens
  std::size_t count_ = 0;
  std::size_t matches_[kMaxPeriod + 1] = {};  ///< tokens in a row equal to the one a period before
};

}  // namespace reelfolio::engine::sampling
