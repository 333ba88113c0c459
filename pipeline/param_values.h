#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "pipeline/graph_parser.h"
#include "stages/params.h"

/// Written values -> typed parameters, and back.
namespace reelfolio::pipeline {

/// Checks `entries` against `specs`: unknown keys (naming the nearest), types, bounds, choices,
/// and required ones that are missing; fills in defaults. `skip` lists keys that are not
/// parameters (use, from). `owner` begins messages about the whole ("stage 'a'"), `where`
/// is its place. An empty value stands for a parameter that has no default. Throws ConfigError.
stages::Params read_params(const SpecValue::Map& entries, const std::vector<stages::ParamSpec>& specs,
                           const std::vector<std::string>& skip, const std::string& owner,
                           const SourceLocation& where);

/// One value as `spec` wants it. Throws ConfigError.
stages::ParamValue read_param(const SpecValue& value, const stages::ParamSpec& spec);

/// "256MiB", "2GB", "4096": B, kB, MB, GB, KiB, MiB, GiB. Throws ConfigError.
std::uint64_t read_size(const SpecValue& value, const std::string& name);

/// A value as YAML on one line, in a spelling that read_param reads back to the same
/// value: durations as "0.6s", text quoted where it must be, "null" where absent.
std::string param_to_yaml(const stages::ParamValue& value, stages::ParamType type);

/// Text as one YAML scalar: plain where that is safe, else in double quotes.
std::string yaml_text(std::string_view text);

/// The shortest decimal that reads back as the same number, in any locale.
std::string number_text(double value);

/// "'abc'", "a list", "a map", "empty": what a message calls a written value.
std::string describe(const SpecValue& value);

}  // namespace reelfolio::pipeline
