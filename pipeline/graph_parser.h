#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "pipeline/error.h"

/// YAML -> GraphSpec: what was written, with line and column, no judgement of its meaning.
namespace reelfolio::pipeline {

/// A YAML node, kept with its place.
struct SpecValue {
  SourceLocation where;
  /// null, scalar, list, or map in written order. Scalars stay text; `quoted` tells "12" from 12.
  struct Scalar {
    std::string text;
    bool quoted = false;
  };
  using List = std::vector<SpecValue>;
  struct MapEntry;
  using Map = std::vector<MapEntry>;
  std::variant<std::monostate, Scalar, List, Map> data;
};

struct SpecValue::MapEntry {
  std::string key;
  SourceLocation key_where;
  SpecValue value;
};

struct StageSpec {
  std::string name;
  SourceLocation where;
  SpecValue::Map entries;  ///< use, from and the parameters
};

struct GraphSpec {
  std::filesystem::path file;
  SpecValue version;
  SpecValue::Map model;
  SpecValue::Map inputs;
  std::vector<StageSpec> stages;  ///< in written order
  /// Parameters of stages that are not written and may turn out to be implied (`scenes_split_audio`).
  std::vector<StageSpec> implied;
  SpecValue::Map output;
  SpecValue::Map limits;  ///< pools and bounds: decoders, queue_bytes, ...
};

/// Reads and parses a graph file (a pipe will do). Throws ConfigError with the place for a file
/// that cannot be read, what yaml_reader.h refuses, unknown top-level keys (naming the
/// nearest valid one), a section or stage that is not a map, and names no stage may have.
GraphSpec parse_graph_file(const std::filesystem::path& file);
/// The same from memory; `file` is only named in errors.
GraphSpec parse_graph(std::string_view yaml, const std::filesystem::path& file);

/// That a setting is about a stage that is not there; `names` are those that are.
ConfigError no_such_stage(const SourceLocation& where, const std::string& name,
                          std::vector<std::string> names);

/// `--set stage.key=value` (value is YAML): replaces or adds that entry; `model.path`,
/// `inputs.include`, `output.path`, `limits.decoders` too, deeper keys (`answers.questions.people`),
/// and `images.key`, `sounds.key` for the stages that `from: images` and `from: sounds` imply, and
/// `scenes_split_audio.key` for those that stand between two (build_graph knows which there are). Throws
/// ConfigError that begins with "--set stage.key: ".
void apply_setting(GraphSpec& spec, std::string_view setting);

}  // namespace reelfolio::pipeline
