#pragma once

#include <filesystem>
#include <string>

#include "engine/safetensors.h"

namespace reelfolio::engine {

/// Names a model: 64 lower-case hexadecimal digits, the same for every copy of the
/// directory and for every split of the tensors into files. SHA-256 over, each field
/// with its length in front:
///   "reelfolio model 1"
///   for config.json, generation_config.json, processor_config.json,
///     preprocessor_config.json, tokenizer.json: name, presence, contents
///   for each tensor by name: name, dtype, shape, and its contents where they are at most
///     16 KiB; of larger ones four blocks of 4 KiB, which begin at k/3 of
///     (bytes - 4 KiB), k = 0..3, rounded down
/// So a change of some weights between the samples goes unnoticed; another training run
/// does not. Reads about 20 MB of a 16 GB model. Throws ModelError if a file cannot be read.
std::string model_fingerprint(const std::filesystem::path& dir, const Checkpoint& checkpoint);

}  // namespace reelfolio::engine
