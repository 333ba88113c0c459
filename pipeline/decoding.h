#pragma once

#include "pipeline/run_state.h"

namespace reelfolio::pipeline {

/// The work of one decoder thread: takes input after input and runs the transforms of each, until
/// none is left or the run stops. What goes wrong with an input becomes its errors; anything else
/// fails the run. Of `options` probe and decoders count.
void decode_inputs(RunState& run, const RunOptions& options, const engine::Engine* engine);

}  // namespace reelfolio::pipeline
