#include "stages/stage.h"

namespace reelfolio::stages {

std::size_t estimated_tokens(std::string_view text) {
  // Western prose has four bytes and more to a token.
  constexpr std::size_t kBytesPerToken = 3;
  return (text.size() + kBytesPerToken - 1) / kBytesPerToken;
}

}  // namespace reelfolio::stages
