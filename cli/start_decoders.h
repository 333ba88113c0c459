#pragma once

#include <filesystem>
#include <memory>

#include "cli/console.h"
#include "stages/decoder/server.h"

namespace reelfolio::cli {

/// The server of decoder processes for `plan`, which it borrows; to be started before anything that a
/// decoder shall not have (threads, a model, the output). Null: `isolate` is false, or this system
/// refuses, which a warning says; another tells what the system lacks to shut decoders in.
/// `password_file` (may be empty) is read now.
std::unique_ptr<stages::DecoderServer> start_decoders(const stages::DecodePlan& plan,
                                                      const stages::DecoderLimits& limits,
                                                      const std::filesystem::path& password_file,
                                                      bool isolate, const Console& console);

}  // namespace reelfolio::cli
