#pragma once

#include <filesystem>
#include <memory>

#include "engine/engine.h"

namespace reelfolio::cli {

/// Engine::load with messages that name the model's folder. Throws ModelError.
std::unique_ptr<engine::Engine> load_engine(const std::filesystem::path& model,
                                            const engine::EngineOptions& options);

}  // namespace reelfolio::cli
