#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "pipeline/graph_parser.h"
#include "pipeline/param_values.h"
#include "pipeline/yaml_reader.h"

using namespace reelfolio;
using stages::ParamType;

namespace {

constexpr ParamType kTypes[] = {ParamType::boolean, ParamType::integer,   ParamType::number,
                                ParamType::text,    ParamType::choice,    ParamType::duration,
                                ParamType::path,    ParamType::text_list, ParamType::text_map};

void check(const pipeline::SpecValue& value, ParamType type) {
  stages::ParamSpec spec;
  spec.name = "key";
  spec.type = type;
  spec.choices = {"one", "two"};
  stages::ParamValue read;
  try {
    read = pipeline::read_param(value, spec);
  } catch (const pipeline::ConfigError&) {
    return;
  }
  // What was accepted is printed as the same value. Text may hold bytes from outside YAML.
  const std::string printed = pipeline::param_to_yaml(read, type);
  pipeline::SpecValue again;
  try {
    again = pipeline::read_yaml(printed, "--set", false);
  } catch (const pipeline::ConfigError&) {
    std::abort();
  }
  if (pipeline::read_param(again, spec) != read) std::abort();
}

}  // namespace

/// A parameter's value as YAML: read as every type, printed and read again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    const pipeline::SpecValue value = pipeline::read_yaml(text, "--set", false);
    for (const ParamType type : kTypes) check(value, type);
    pipeline::read_size(value, "queue_bytes");
  } catch (const pipeline::ConfigError&) {
  }
  try {
    pipeline::GraphSpec spec =
        pipeline::parse_graph("version: 1\nstages: {a: {use: split_scenes, from: inputs}}\n", "graph.yaml");
    pipeline::apply_setting(spec, text);
  } catch (const pipeline::ConfigError&) {
  }
  return 0;
}
