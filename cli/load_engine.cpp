#include "cli/load_engine.h"

#include <string>
#include <system_error>
#include <utility>

#include "engine/error.h"

namespace reelfolio::cli {

namespace {

template <class Load>
std::unique_ptr<engine::Engine> load_named(const std::filesystem::path& model, Load load) {
  std::error_code error;
  if (!std::filesystem::is_directory(model, error)) {
    const bool exists = std::filesystem::exists(model, error);
    throw engine::ModelError(model.string() + (exists ? ": is no folder" : ": there is no such folder") +
                             "; name one that holds a model, nothing is downloaded");
  }
  try {
    return load();
  } catch (const engine::ModelError& failure) {
    const std::string message = failure.what();
    if (message.find(model.string()) != std::string::npos) throw;
    throw engine::ModelError(model.string() + ": " + message);
  }
}

}  // namespace

std::unique_ptr<engine::Engine> load_engine(const std::filesystem::path& model,
                                            const engine::EngineOptions& options) {
  return load_named(model, [&] { return engine::Engine::load(model, options); });
}

std::unique_ptr<engine::Engine> load_engine_when_asked(const std::filesystem::path& model,
                                                       const engine::EngineOptions& options,
                                                       std::function<void()> on_load) {
  return load_named(model,
                    [&] { return engine::Engine::load_when_asked(model, options, std::move(on_load)); });
}

}  // namespace reelfolio::cli
