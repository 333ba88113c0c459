#pragma once

#include <filesystem>
#include <memory>

#include "engine/engine.h"
#include "engine/tokenizer.h"

namespace reelfolio::engine {

/// Engine::load for who has the directory's tokenizer already: with the release's, 40 MB and a quarter of a
/// second are not spent twice.
std::unique_ptr<Engine> load_engine(const std::filesystem::path& dir, const EngineOptions& options,
                                    std::shared_ptr<const Tokenizer> tokenizer);

}  // namespace reelfolio::engine
