#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/interrupts.h"
#include "cli/load_engine.h"
#include "engine/engine.h"
#include "pipeline/error.h"
#include "stages/probe.h"
#include "stages/stage.h"

namespace reelfolio::cli {

namespace {

/// As many frames as the model's release takes of a short clip, at the smallest budget.
constexpr std::int64_t kFramesOfVideo = 16;
/// The sound of longer videos is left out: the pictures tell of the whole, it would not.
constexpr double kHeardVideoS = 60;

/// Keeps what workers emit; lets the first error of a part stand for the file.
class Collector final : public stages::Emitter {
 public:
  explicit Collector(std::stop_token stop) : stop_(std::move(stop)) {}
  void emit(stages::Item item) override {
    if (stop_.stop_requested()) throw stages::Cancelled();
    items.push_back(std::move(item));
  }
  void error(const stages::ItemError& error, std::shared_ptr<const stages::Unit> unit) override {
    (void)unit;
    errors.push_back(error);
  }
  std::vector<stages::Item> items;
  bool stopped() const override { return stop_.stop_requested(); }

  std::vector<stages::ItemError> errors;

 private:
  std::stop_token stop_;
};

/// Runs files through the stages that a graph would use, with those stages' defaults.
class MediaSource {
 public:
  MediaSource(const AskFlags& flags, std::filesystem::path password_file, const Console& console,
              std::stop_token stop)
      : flags_(flags), password_file_(std::move(password_file)), console_(console), stop_(std::move(stop)) {}

  /// What is to be seen and heard in a file, in its order. Throws ItemError.
  std::vector<stages::Item> items(const std::string& file) const {
    const auto input = std::make_shared<stages::InputFile>(
        stages::probe_input(file, file, [this] { return stop_.stop_requested(); }));
    std::vector<stages::Item> items = {{input, nullptr, {}}};
    switch (input->media) {
      case stages::MediaKind::image:
        items = apply("read_images", {}, items, file);
        break;
      case stages::MediaKind::pdf:
        items = apply("render_pages", {}, items, file);
        break;
      case stages::MediaKind::video:
        items = apply("split_scenes", {}, items, file);
        items = apply("sample_frames", {{"per_scene", kFramesOfVideo}}, {whole_video(items)}, file);
        add_sound(items, file);
        break;
      case stages::MediaKind::audio:
        items = apply("split_audio", {}, items, file);
        break;
      case stages::MediaKind::text:
      case stages::MediaKind::unknown:
        throw stages::ItemError("input.unsupported", "is " +
                                                         std::string(stages::media_kind_name(input->media)) +
                                                         ", expected an image, a PDF, a video or a sound");
    }
    return items;
  }

 private:
  /// One scene from the start of the first to the end of the last, so that frames are
  /// taken evenly over the whole.
  static stages::Item whole_video(const std::vector<stages::Item>& scenes) {
    auto unit = std::make_shared<stages::Unit>(*scenes.front().unit);
    unit->end_s = scenes.back().unit->end_s;
    return {scenes.front().input, unit, {}};
  }

  void add_sound(std::vector<stages::Item>& items, const std::string& file) const {
    const stages::Unit& video = *items.front().unit;
    if (video.end_s - video.start_s > kHeardVideoS) {
      console_.info(file + " is longer than a minute: its sound is left out");
      return;
    }
    items = apply("split_audio", {{"max_heard", kHeardVideoS}}, items, file);
  }

  std::vector<stages::Item> apply(std::string_view type_name,
                                  const std::vector<std::pair<std::string, stages::ParamValue>>& given,
                                  const std::vector<stages::Item>& items, const std::string& file) const {
    const stages::StageType& type = *stages::find_stage_type(type_name);
    stages::Params params;
    for (const stages::ParamSpec& spec : type.params) {
      params.set(spec.name, spec.default_value);
      if (spec.name == "soft_tokens" && flags_.soft_tokens) {
        params.set(spec.name, static_cast<std::int64_t>(*flags_.soft_tokens));
      }
    }
    for (const auto& [name, value] : given) params.set(name, value);
    stages::StageContext context;
    context.stage_name = std::string(type_name);
    context.graph_folder = ".";
    context.password_file = password_file_;
    const auto transform = type.make_transform(params, context);
    Collector collector(stop_);
    const auto worker = transform->make_worker();
    for (const stages::Item& item : items) worker->process(item, collector);
    worker->end_input();
    for (const stages::ItemError& error : collector.errors) console_.warning(file + ": " + error.what());
    if (collector.items.empty() && !collector.errors.empty()) throw collector.errors.front();
    if (collector.items.empty())
      throw stages::ItemError("language.no_pictures", "there is nothing to show in it");
    return std::move(collector.items);
  }

  const AskFlags& flags_;
  std::filesystem::path password_file_;
  const Console& console_;
  std::stop_token stop_;
};

/// Pictures, then sound. False: the sound of a video was left out, as the model does not hear.
bool add_parts(const std::vector<stages::Item>& items, bool hears, engine::Message& message) {
  bool all = true;
  for (const stages::Item& item : items) {
    for (const stages::Picture& picture : item.pictures) {
      message.parts.emplace_back(engine::ImagePart{picture.image, picture.soft_tokens});
    }
  }
  for (const stages::Item& item : items) {
    if (!item.sound) continue;
    for (const stages::SoundClip& clip : item.sound->clips) {
      // What is sound and nothing else is asked about all the same: the engine says why it cannot be.
      if (!hears && !item.pictures.empty()) {
        all = false;
      } else {
        message.parts.emplace_back(engine::AudioPart{clip.audio});
      }
    }
  }
  return all;
}

}  // namespace

ExitCode ask_command(const AskFlags& flags) {
  const Environment environment = process_environment();
  const ProcessSettings settings = resolve(flags, environment);
  const Console console(settings.log_level);
  const AskModel model = resolve_model(flags, environment);

  Interrupts interrupts([&console] { console.info("stopping (again: end at once)"); });
  const MediaSource source(flags, settings.password_file, console, interrupts.token());
  std::vector<std::vector<stages::Item>> seen;  // of each file
  for (const std::string& file : flags.files) {
    try {
      seen.push_back(source.items(file));
    } catch (const stages::ItemError& error) {
      console.error(file + ": " + error.what());
      return ExitCode::inputs_failed;
    } catch (const stages::Cancelled&) {
      return interrupts.exit_code();
    }
  }

  const auto engine = load_engine(model.path, {.weights = model.weights, .threads = settings.threads});
  engine::Message message;
  for (std::size_t i = 0; i < seen.size(); ++i) {
    const bool added = add_parts(seen[i], engine->config().audio.has_value(), message);
    if (!added) console.info(flags.files[i] + ": the model does not hear, so the video's sound is left out");
  }
  message.parts.emplace_back(engine::TextPart{flags.question});
  engine::Request request;
  request.messages.push_back(std::move(message));
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
