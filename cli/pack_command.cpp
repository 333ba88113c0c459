#include <unistd.h>

#include <chrono>
#include <string>

#include "cli/commands.h"
#include "cli/console.h"
#include "cli/interrupts.h"
#include "engine/packed_model.h"
#include "stages/write_jsonl.h"

namespace reelfolio::cli {

namespace {

/// A line every few seconds, so that a log stays readable; nothing with --quiet.
class PackProgressLines {
 public:
  explicit PackProgressLines(const Console& console) : console_(console) {}

  void operator()(std::size_t done, std::size_t total) {
    constexpr std::chrono::seconds kInterval{5};
    const auto now = std::chrono::steady_clock::now();
    if (done < total && now - last_ < kInterval) return;
    last_ = now;
    console_.info("packed " + std::to_string(done / kMegabyte) + " of " + std::to_string(total / kMegabyte) +
                  " MB");
  }

 private:
  static constexpr std::size_t kMegabyte = 1000 * 1000;
  const Console& console_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace

ExitCode pack_command(const PackFlags& flags) {
  const Console console(flags.quiet ? LogLevel::error : LogLevel::info);
  Interrupts interrupts([&console] { console.info("stopping; nothing is left behind"); });
  PackProgressLines progress(console);
  try {
    engine::pack_model(
        flags.source, flags.output,
        {engine::ops::find_weight_type(flags.weights).value(), flags.per_layer_table == "int8"},
        [&progress](std::size_t done, std::size_t total) { progress(done, total); }, interrupts.token());
  } catch (const engine::PackCancelled&) {
    return interrupts.exit_code();
  } catch (const engine::PackWriteError& error) {
    throw stages::OutputError(error.what(), false);
  }
  return ExitCode::ok;
}

}  // namespace reelfolio::cli
