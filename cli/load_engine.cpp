#include "cli/load_engine.h"

#include <string>
#include <system_error>

#include "engine/error.h"

namespace reelfolio::cli {

std::unique_ptr<engine::Engine> load_engine(const std::filesystem::path& model,
                                            const engine::EngineOptions& options) {
  std::error_code error;
  if (!std::filesystem::is_directory(model, error)) {
    const bool exists = std::filesystem::exists(model, error);
    throw engine::ModelError(model.string() + (exists ? ": is no folder" : ": there is no such folder") +
                             "; name one that holds a model, nothing is downloaded");
  }
  try {
    return engine::Engine::load(model, options);
  } catch (const engine::ModelError& failure) {
    const std::string message = failure.what();
    if (message.find(model.string()) != std::string::npos) throw;
    throw engine::ModelError(model.string() + ": " + message);
  }
}

}  // namespace reelfolio::cli
