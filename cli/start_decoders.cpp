#include "cli/start_decoders.h"

#include <string>
#include <system_error>

#include "pipeline/names.h"
#include "stages/error.h"
#include "stages/pdf/document.h"

namespace reelfolio::cli {

std::unique_ptr<stages::DecoderServer> start_decoders(const stages::DecodePlan& plan,
                                                      const stages::DecoderLimits& limits,
                                                      const std::filesystem::path& password_file,
                                                      bool isolate, const Console& console) {
  try {
    if (!password_file.empty()) stages::keep_password(password_file);
  } catch (const stages::ItemError&) {
    // An encrypted PDF that needs it says so.
  }
  if (!isolate) return nullptr;
  try {
    auto server = std::make_unique<stages::DecoderServer>(plan, limits);
    if (!server->missing().empty()) {
      console.warning("decoders are isolated in part: this system refuses " +
                      pipeline::joined(server->missing(), " and "));
    }
    return server;
  } catch (const std::system_error& error) {
    console.warning("decoders run without isolation: " + std::string(error.what()));
    return nullptr;
  }
}

}  // namespace reelfolio::cli
