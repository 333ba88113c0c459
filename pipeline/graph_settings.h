#pragma once

#include "pipeline/graph.h"

/// The sections of a graph beside its stages. Each function throws ConfigError.
namespace reelfolio::pipeline {

void check_version(const GraphSpec& spec);
ModelSettings read_model_settings(const SpecValue::Map& section);
InputSettings read_input_settings(const SpecValue::Map& section);
struct OutputSettings {
  std::filesystem::path path;
  std::vector<stages::SubtitleFormat> subtitles;
  std::filesystem::path subtitles_folder;
};
OutputSettings read_output_settings(const SpecValue::Map& section);
Limits read_limits(const SpecValue::Map& section);

}  // namespace reelfolio::pipeline
