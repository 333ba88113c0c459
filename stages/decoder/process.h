#pragma once

#include <cstdint>

#include "stages/decoder/channel.h"
#include "stages/decoder/decode.h"

namespace reelfolio::stages {

/// What a decoder process does once it is shut in: answers the requests about one input that come
/// through `socket` until the parent hangs up or the input is decoded. Returns the exit code.
int run_decoder_process(const DecodePlan& plan, int input_fd, int socket, const SharedMemory& memory);

/// Exit codes of that process beside 0.
constexpr int kExitOutOfMemory = 12;
constexpr int kExitInternal = 13;

}  // namespace reelfolio::stages
