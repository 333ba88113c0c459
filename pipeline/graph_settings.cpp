#include "pipeline/graph_settings.h"

#include <algorithm>
#include <array>

#include "pipeline/names.h"
#include "pipeline/param_values.h"

namespace reelfolio::pipeline {

namespace {

using stages::ParamSpec;
using stages::ParamType;

// Words of `weights` that only a packed model has.

ParamSpec param(std::string name, ParamType type) {
  ParamSpec spec;
  spec.name = std::move(name);
  spec.type = type;
  return spec;
}

ParamSpec count(std::string name, int default_value, int max) {
  ParamSpec spec = param(std::move(name), ParamType::integer);
  spec.default_value = static_cast<std::int64_t>(default_value);
  spec.min = 1;
  spec.max = max;
  return spec;
}

ParamSpec duration(std::string name, double default_value, double min) {
  ParamSpec spec = param(std::move(name), ParamType::duration);
  spec.default_value = default_value;
  spec.min = min;
  spec.max = 30 * 24 * 3600.0;
  return spec;
}

std::vector<std::string> text_list(const stages::Params& params, const std::string& name) {
  return params.has(name) ? params.text_list(name) : std::vector<std::string>();
}

/// A size, or 0 for nothing at all.
std::uint64_t read_size_or_none(const SpecValue& value, const std::string& key) {
  const auto* scalar = std::get_if<SpecValue::Scalar>(&value.data);
  return scalar != nullptr && scalar->text == "0" ? 0 : read_size(value, key);
}

std::uint64_t read_input_memory(const SpecValue& value, const std::string& key) {
  constexpr std::uint64_t kLeast = std::uint64_t{64} << 20U;
  constexpr std::uint64_t kMost = std::uint64_t{1} << 40U;
  const std::uint64_t bytes = read_size(value, key);
  if (bytes < kLeast || bytes > kMost) {
    throw ConfigError(value.where,
                      "'" + key + "' is " + std::to_string(bytes) + " bytes, expected 64MiB to 1TiB");
  }
  return bytes;
}

}  // namespace

void check_version(const GraphSpec& spec) {
  const SpecValue& version = spec.version;
  if (std::holds_alternative<std::monostate>(version.data)) {
    throw ConfigError(version.where, "has no 'version', expected version: 1");
  }
  const auto* scalar = std::get_if<SpecValue::Scalar>(&version.data);
  if (scalar == nullptr || scalar->quoted || scalar->text != "1") {
    throw ConfigError(version.where, "'version' is " + describe(version) + ", expected 1");
  }
}

ModelSettings read_model_settings(const SpecValue::Map& section) {
  ParamSpec weights = param("weights", ParamType::choice);
  weights.choices = {"f32", "bf16", "int8", "int4", "int2"};
  weights.default_value = std::string(engine::ops::weight_type_name(ModelSettings{}.weights));
  ParamSpec kv_cache = param("kv_cache", ParamType::choice);
  kv_cache.choices = {"auto", "f32", "bf16", "int8"};
  kv_cache.default_value = "auto";
  const stages::Params params =
      read_params(section, {param("path", ParamType::path), weights, kv_cache}, {}, "'model'", {});
  ModelSettings settings;
  if (params.has("path")) settings.path = params.text("path");
  settings.weights = engine::ops::find_weight_type(params.text("weights")).value();
  settings.kv_cache = engine::text::find_kv_type(params.text("kv_cache"));
  return settings;
}

InputSettings read_input_settings(const SpecValue::Map& section) {
  const stages::Params params =
      read_params(section,
                  {param("paths", ParamType::text_list), param("include", ParamType::text_list),
                   param("exclude", ParamType::text_list)},
                  {}, "'inputs'", {});
  InputSettings settings;
  for (const std::string& path : text_list(params, "paths")) settings.paths.emplace_back(path);
  settings.include = text_list(params, "include");
  settings.exclude = text_list(params, "exclude");
  return settings;
}

OutputSettings read_output_settings(const SpecValue::Map& section) {
  const stages::Params params =
      read_params(section,
                  {param("path", ParamType::path), param("subtitles", ParamType::text_list),
                   param("subtitles_folder", ParamType::path)},
                  {}, "'output'", {});
  OutputSettings settings;
  if (params.has("path")) settings.path = params.text("path");
  if (params.has("subtitles_folder")) settings.subtitles_folder = params.text("subtitles_folder");
  for (const std::string& name : text_list(params, "subtitles")) {
    const auto format = stages::find_subtitle_format(name);
    if (!format) {
      const auto entry =
          std::find_if(section.begin(), section.end(), [](const auto& e) { return e.key == "subtitles"; });
      throw ConfigError(entry->value.where, "'subtitles' names " + in_quotes(name) + ", expected srt or vtt");
    }
    if (std::find(settings.subtitles.begin(), settings.subtitles.end(), *format) ==
        settings.subtitles.end()) {
      settings.subtitles.push_back(*format);
    }
  }
  return settings;
}

Limits read_limits(const SpecValue::Map& section) {
  Limits limits;
  const stages::Params params = read_params(
      section,
      {count("decoders", limits.decoders, 256), param("queue_bytes", ParamType::text),
       count("inputs_in_flight", limits.inputs_in_flight, 100'000), count("batch", limits.batch, 256),
       param("cache_bytes", ParamType::text), param("media_cache", ParamType::text),
       duration("input_time", limits.input.time_s, 0.1), duration("input_stall", limits.input.stall_s, 0.1),
       param("input_memory", ParamType::text)},
      {}, "'limits'", {});
  limits.decoders = static_cast<int>(params.integer("decoders"));
  limits.inputs_in_flight = static_cast<int>(params.integer("inputs_in_flight"));
  limits.batch = static_cast<int>(params.integer("batch"));
  limits.input.time_s = params.number("input_time");
  limits.input.stall_s = params.number("input_stall");
  for (const SpecValue::MapEntry& entry : section) {
    if (entry.key == "input_memory") limits.input.memory_bytes = read_input_memory(entry.value, entry.key);
    if (entry.key == "queue_bytes") limits.queue_bytes = read_size(entry.value, entry.key);
    if (entry.key == "media_cache") limits.media_cache = read_size_or_none(entry.value, entry.key);
    if (entry.key == "cache_bytes") limits.cache_bytes = read_size(entry.value, entry.key);
  }
  return limits;
}

}  // namespace reelfolio::pipeline
