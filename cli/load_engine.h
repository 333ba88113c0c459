#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "engine/engine.h"

namespace reelfolio::cli {

/// Engine::load with messages that name the model's folder. Throws ModelError.
std::unique_ptr<engine::Engine> load_engine(const std::filesystem::path& model,
                                            const engine::EngineOptions& options);

/// Engine::load_when_asked, with such messages for what is found out at once. Throws ModelError.
std::unique_ptr<engine::Engine> load_engine_when_asked(const std::filesystem::path& model,
                                                       const engine::EngineOptions& options,
                                                       std::function<void()> on_load);

}  // namespace reelfolio::cli
