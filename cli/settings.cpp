#include "cli/settings.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "cli/cpu_count.h"
#include "cli/option_values.h"
#include "engine/kernels/force_kernels.h"
#include "pipeline/error.h"
#include "pipeline/names.h"
#include "pipeline/param_values.h"
#include "stages/system_message.h"

namespace reelfolio::cli {

using pipeline::ConfigError;

Environment process_environment() {
  return [](const std::string& name) -> std::string {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? "" : value;
  };
}

namespace {

/// The flag if it was typed, else the variable if it is set; `name` is what messages call it.
struct Setting {
  std::string name;
  std::optional<std::string> text;
};

Setting flag_or_variable(const std::string& flag_name, const std::optional<std::string>& flag,
                         const std::string& variable, const Environment& environment) {
  if (flag) return {flag_name, flag};
  const std::string text = environment(variable);
  return {variable, text.empty() ? std::nullopt : std::optional(text)};
}

int resolve_threads(const std::optional<int>& flag, const Environment& environment) {
  if (flag) return *flag;
  const std::string variable = environment("REELFOLIO_THREADS");
  if (variable.empty()) return usable_cpus();
  return static_cast<int>(parse_integer("REELFOLIO_THREADS", variable, 1, kMaxThreads));
}

std::string resolve_kernels(const std::optional<std::string>& flag, const Environment& environment) {
  const Setting setting = flag_or_variable("--kernels", flag, "REELFOLIO_KERNELS", environment);
  return setting.text ? check_choice(setting.name, *setting.text, kKernels) : kKernels.front();
}

engine::Pinning resolve_pin(const std::optional<std::string>& flag, const Environment& environment) {
  const Setting setting = flag_or_variable("--pin", flag, "REELFOLIO_PIN", environment);
  if (!setting.text) return engine::Pinning::automatic;
  return engine::find_pinning(check_choice(setting.name, *setting.text, kPinnings)).value();
}

LogLevel resolve_log_level(const std::optional<std::string>& flag, bool quiet,
                           const Environment& environment) {
  const Setting setting = flag_or_variable("--log-level", flag, "REELFOLIO_LOG_LEVEL", environment);
  // Checked even where -q decides: a wrong value is a mistake all the same.
  if (setting.text) check_choice(setting.name, *setting.text, kLogLevels);
  if (quiet) return LogLevel::error;
  if (!setting.text) return LogLevel::info;
  return static_cast<LogLevel>(std::ranges::find(kLogLevels, *setting.text) - kLogLevels.begin());
}

}  // namespace

std::filesystem::path resolve_password_file(const std::optional<std::string>& flag,
                                            const Environment& environment) {
  const Setting setting = flag_or_variable("--password-file", flag, "REELFOLIO_PASSWORD_FILE", environment);
  if (!setting.text) return {};
  // Not opened: it may be a pipe, which is read once.
  const auto refuse = [&](const std::string& why) {
    throw ConfigError(setting.name + " is " + pipeline::in_quotes(*setting.text) + ", which " + why);
  };
  std::error_code ignored;
  if (std::filesystem::is_directory(*setting.text, ignored)) refuse("is a folder");
  if (access(setting.text->c_str(), R_OK) != 0) refuse("cannot be read: " + stages::system_message(errno));
  return *setting.text;
}

namespace {

/// What every command that computes resolves alike.
template <class Flags>
ProcessSettings engine_settings(const Flags& flags, const Environment& environment) {
  ProcessSettings settings;
  settings.threads = resolve_threads(flags.threads, environment);
  settings.pinning = resolve_pin(flags.pin, environment);
  settings.kernels = resolve_kernels(flags.kernels, environment);
  settings.log_level = resolve_log_level(flags.log_level, flags.quiet, environment);
  settings.progress = ProgressMode::none;
  return settings;
}

}  // namespace

ProcessSettings resolve(const RunFlags& flags, const Environment& environment) {
  ProcessSettings settings = engine_settings(flags, environment);
  settings.password_file = resolve_password_file(flags.password_file, environment);
  const Setting progress = flag_or_variable("--progress", flags.progress, "REELFOLIO_PROGRESS", environment);
  if (progress.text) {
    check_choice(progress.name, *progress.text, kProgressModes);
    settings.progress =
        static_cast<ProgressMode>(std::ranges::find(kProgressModes, *progress.text) - kProgressModes.begin());
  } else if (!flags.quiet) {
    settings.progress = ProgressMode::automatic;
  }
  return settings;
}

ProcessSettings resolve(const AskFlags& flags, const Environment& environment) {
  ProcessSettings settings = engine_settings(flags, environment);
  settings.password_file = resolve_password_file(flags.password_file, environment);
  return settings;
}

ProcessSettings resolve(const BenchFlags& flags, const Environment& environment) {
  return engine_settings(flags, environment);
}

void use_kernels(const ProcessSettings& settings) {
  if (engine::kernels::force_kernels(settings.kernels)) return;
  throw ConfigError("kernels " + pipeline::in_quotes(settings.kernels) +
                    " need instructions that this processor lacks; auto takes the best that it has");
}

void apply_flags(pipeline::GraphSpec& spec, const RunFlags& flags, const Environment& environment) {
  const std::optional<std::string> decoders =
      flags.decoders ? std::optional(std::to_string(*flags.decoders)) : std::nullopt;
  const struct {
    std::string target;
    const char* flag_name;
    const std::optional<std::string>& flag;
    const char* variable;
  } places[] = {
      {"model.path", "--model", flags.model, "REELFOLIO_MODEL"},
      {"model.weights", "--weights", flags.weights, "REELFOLIO_WEIGHTS"},
      {"model.kv_cache", "--kv-cache", flags.kv_cache, "REELFOLIO_KV_CACHE"},
      {"output.path", "--output", flags.output, "REELFOLIO_OUTPUT"},
      {"limits.decoders", "--decoders", decoders, "REELFOLIO_DECODERS"},
  };
  const auto apply = [&](const std::string& target, const std::string& name, const std::string& value) {
    if (target == "model.weights") check_choice(name, value, kWeights);
    if (target == "model.kv_cache") check_choice(name, value, kKvTypes);
    const bool is_number = target == "limits.decoders";
    if (is_number) parse_integer(name, value, 1, kMaxDecoders);
    pipeline::apply_setting(spec, target + "=" + (is_number ? value : pipeline::yaml_text(value)));
  };
  for (const auto& place : places) {
    const std::string variable = environment(place.variable);
    if (!variable.empty()) apply(place.target, place.variable, variable);
  }
  for (const std::string& setting : flags.settings) pipeline::apply_setting(spec, setting);
  for (const auto& place : places) {
    if (place.flag) apply(place.target, place.flag_name, *place.flag);
  }
}

namespace {

engine::ops::WeightType resolve_weights(const std::optional<std::string>& flag,
                                        const Environment& environment) {
  const Setting weights = flag_or_variable("--weights", flag, "REELFOLIO_WEIGHTS", environment);
  if (!weights.text) return engine::ops::WeightType::bf16;
  return engine::ops::find_weight_type(check_choice(weights.name, *weights.text, kWeights)).value();
}

std::optional<engine::text::KvType> resolve_kv_cache(const std::optional<std::string>& flag,
                                                     const Environment& environment) {
  const Setting type = flag_or_variable("--kv-cache", flag, "REELFOLIO_KV_CACHE", environment);
  if (!type.text) return std::nullopt;
  return engine::text::find_kv_type(check_choice(type.name, *type.text, kKvTypes));
}

}  // namespace

AskModel resolve_model(const AskFlags& flags, const Environment& environment) {
  const Setting model = flag_or_variable("--model", flags.model, "REELFOLIO_MODEL", environment);
  if (!model.text) throw ConfigError("no model is named: give --model DIR or set REELFOLIO_MODEL");
  return {*model.text, resolve_weights(flags.weights, environment),
          resolve_kv_cache(flags.kv_cache, environment)};
}

engine::BenchOptions resolve_bench(const BenchFlags& flags, const Environment& environment) {
  engine::BenchOptions options;
  if (flags.model && flags.synthetic) {
    throw ConfigError("--model and --synthetic are both given, expected one of them");
  }
  if (flags.synthetic) {
    check_choice("--synthetic", *flags.synthetic, {"e4b", "e2b"});
    options.model = engine::find_synthetic_shape(*flags.synthetic).value();
  } else {
    const Setting model = flag_or_variable("--model", flags.model, "REELFOLIO_MODEL", environment);
    if (!model.text) {
      throw ConfigError("no model is named: give --model DIR or --synthetic e4b, or set REELFOLIO_MODEL");
    }
    options.model = std::filesystem::path(*model.text);
  }
  options.weights = resolve_weights(flags.weights, environment);
  options.kv_cache = resolve_kv_cache(flags.kv_cache, environment);
  options.threads = resolve_threads(flags.threads, environment);
  options.pinning = resolve_pin(flags.pin, environment);
  options.repeats = flags.repeats.value_or(options.repeats);
  if (flags.context) options.context = static_cast<std::size_t>(*flags.context);
  for (const std::string& item : flags.only) {
    if (!engine::is_bench_item(item)) {
      throw ConfigError("--only names " + pipeline::in_quotes(item) + ", expected " +
                        pipeline::joined(bench_items(), " or ") + pipeline::suggestion(item, bench_items()));
    }
  }
  options.only = flags.only;
  return options;
}

}  // namespace reelfolio::cli
