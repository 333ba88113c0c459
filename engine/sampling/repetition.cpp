#include "engine/sampling/repetition.h"

#include <algorithm>

namespace reelfolio::engine::sampling {

bool RepetitionDetector::push(TokenId id) {
  history_.resize(kMaxPeriod);
  bool loop = false;
  for (std::size_t period = 1; period <= std::min(kMaxPeriod, count_); ++period) {
    const bool same = history_[(count_ - period) % kMaxPeriod] == id;
    matches_[period] = same ? matches_[period] + 1 : 0;
    // The first period itself has nothing before it to match.
    const std::size_t tokens = matches_[period] + period;
    loop = loop || (same && tokens >= kMinTokens && tokens >= kMinRepeats * period);
  }
  history_[count_ % kMaxPeriod] = id;
  ++count_;
  return loop;
}

}  // namespace reelfolio::engine::sampling
