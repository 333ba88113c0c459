#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cli/ask_media.h"
#include "cli/ask_prompt.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/interrupts.h"
#include "cli/load_engine.h"
#include "cli/settings.h"
#include "cli/start_decoders.h"
#include "engine/engine.h"
#include "pipeline/error.h"
#include "stages/decoder/isolated_decoder.h"
#include "stages/stage.h"

namespace reelfolio::cli {

namespace {

/// What decoding a file comes to.
class Seen final : public stages::DecodeEvents {
 public:
  explicit Seen(std::stop_token stop) : stop_(std::move(stop)) {}
  void emitted(int, stages::Item item, bool) override {
    if (stop_.stop_requested()) throw stages::Cancelled();
    items.push_back(std::move(item));
  }
  void unit_closed(const std::shared_ptr<const stages::Unit>&) override {}
  void failed(int, std::shared_ptr<const stages::Unit>, const std::string& code,
              const std::string& message) override {
    errors.emplace_back(code, message);
  }
  bool stopped() const override { return stop_.stop_requested(); }

  std::vector<stages::Item> items;
  std::vector<stages::ItemError> errors;

 private:
  std::stop_token stop_;
};

/// What is to be seen, heard and read in a file, in its order. Throws ItemError, Cancelled.
std::vector<stages::Item> look_at(const std::string& file, stages::DecoderThread& decoder,
                                  const std::stop_token& stop, const Console& console) {
  const auto input = std::make_shared<const stages::InputFile>(
      decoder.probe(file, file, [&stop] { return stop.stop_requested(); }));
  Seen seen(stop);
  decoder.decode(input, seen);
  if (seen.items.empty()) {
    if (!seen.errors.empty()) throw seen.errors.front();
    throw stages::ItemError("language.no_pictures", "there is nothing to show in it");
  }
  for (const stages::ItemError& error : seen.errors) console.warning(file + ": " + error.what());
  const stages::Unit& unit = *seen.items.front().unit;
  if (input->media == stages::MediaKind::video && unit.end_s - unit.start_s > kHeardVideoS) {
    console.info(file + " is longer than a minute: its sound is left out");
  }
  return std::move(seen.items);
}

}  // namespace

ExitCode ask_command(const AskFlags& flags) {
  const Environment environment = process_environment();
  const ProcessSettings settings = resolve(flags, environment);
  use_kernels(settings);
  const Console console(settings.log_level);
  const AskModel model = resolve_model(flags, environment);

  const auto media = make_ask_media(flags.soft_tokens, settings.password_file);
  const stages::DecodePlan plan = ask_media_plan(*media);
  // Before any thread starts.
  const auto decoders = start_decoders(plan, {}, settings.password_file, flags.isolate, console);
  Interrupts interrupts([&console] { console.info("stopping (again: end at once)"); });
  stages::StageTimer timer([] { return 0.0; }, plan.stages.size());
  const auto decoder = make_decoder_thread(plan, timer, decoders.get());
  std::vector<std::vector<stages::Item>> seen;  // of each file
  for (const std::string& file : flags.files) {
    try {
      seen.push_back(look_at(file, *decoder, interrupts.token(), console));
    } catch (const stages::ItemError& error) {
      console.error(file + ": " + error.what());
      return ExitCode::inputs_failed;
    } catch (const stages::Cancelled&) {
      return interrupts.exit_code();
    }
  }

  const auto engine = load_engine(model.path, {.weights = model.weights,
                                               .threads = settings.threads,
                                               .kv_cache = model.kv_cache,
                                               .pinning = settings.pinning});
  AskPrompt prompt(engine->config().audio.has_value());
  for (std::size_t i = 0; i < seen.size(); ++i) {
    if (!prompt.add(seen[i]))
      console.info(flags.files[i] + ": the model does not hear, so the video's sound is left out");
  }
  engine::Request request;
  request.messages.push_back(prompt.with_question(flags.question));
  request.thinking = flags.thinking;
  request.max_tokens = flags.max_tokens;
  // A terminal sees the answer as it is made; a pipe gets it whole.
  const bool streams = isatty(STDOUT_FILENO) == 1;
  std::vector<engine::Answer> answers;
  try {
    answers = engine->answer({&request, 1}, interrupts.token(),
                             streams ? [](std::size_t, std::string_view text) { print(text); }
                                     : std::function<void(std::size_t, std::string_view)>());
  } catch (const engine::RequestError& error) {
    console.error(error.what());
    return ExitCode::inputs_failed;
  }
  const engine::Answer& answer = answers.front();
  print(streams ? "\n" : answer.text + "\n");
  if (answer.thinking) console.info("thoughts: " + *answer.thinking);
  if (answer.finish_reason == engine::FinishReason::cancelled) return interrupts.exit_code();
  if (answer.finish_reason != engine::FinishReason::stop) {
    console.warning("the answer was cut off: " +
                    std::string(engine::finish_reason_name(answer.finish_reason)));
  }
  return ExitCode::ok;
}

}  // namespace reelfolio::cli
