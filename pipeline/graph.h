#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/ops/matmul.h"
#include "pipeline/graph_parser.h"
#include "stages/decoder/decode.h"
#include "stages/decoder/limits.h"
#include "stages/stage.h"
#include "stages/subtitle_cues.h"

/// GraphSpec -> Graph: names resolved, types checked, defaults filled in, no cycles.
///
/// Where relative paths start: those of `model`, `inputs` and `output` at the current
/// directory, as on the command line; those in stage parameters (schemas, prompt files) at the
/// folder of the graph file, which they belong to.
namespace reelfolio::pipeline {

struct ModelSettings {
  std::filesystem::path path;  ///< empty: none named
  engine::ops::WeightType weights = engine::ops::WeightType::bf16;
  /// How keys and values are kept; nullopt ("auto"): as engine::text::default_kv_type says.
  std::optional<engine::text::KvType> kv_cache;
};

struct InputSettings {
  std::vector<std::filesystem::path> paths;
  std::vector<std::string> include;  ///< glob patterns, see input_list.h; empty: every file
  std::vector<std::string> exclude;
};

/// Named pools and bounds of a run.
struct Limits {
  int decoders = 1;                                    ///< threads that run transforms
  std::uint64_t queue_bytes = 256U * 1024 * 1024;      ///< pictures held between decoders and engine
  int inputs_in_flight = 64;                           ///< inputs begun but not yet written
  int batch = 16;                                      ///< sequences decoded together
  std::uint64_t cache_bytes = std::uint64_t{4} << 30;  ///< keys and values that they may come to
  std::uint64_t media_cache = std::uint64_t{2}
                              << 30;  ///< pictures and sounds kept beside the ledger; 0: none
  stages::DecoderLimits input{};      ///< of one input; hold where it has its own process
};

/// One stage, checked. `from` holds indices into Graph::stages; kInputs stands for `inputs`.
struct GraphStage {
  static constexpr int kInputs = stages::DecodePlan::kInputs;
  std::string name;
  const stages::StageType* type = nullptr;
  std::vector<int> from;
  std::vector<stages::ItemType> receives;  ///< those of its sources' products that it accepts
  stages::Params params;
  std::map<std::string, std::string> file_sha256;  ///< parameter of type path -> hash of that file
  std::unique_ptr<stages::Transform> transform;    ///< exactly one of the two is set
  std::unique_ptr<stages::LanguageStage> language;
};

/// Immutable. Stages stand in written order; first the implicit `images` (use: read_images, from:
/// inputs) and `sounds` (use: split_audio, from: inputs, of which it takes sound files alone), where a
/// stage names them in `from`, and others that a stage type goes `through` before the stage that needs
/// them ("scenes_split_audio").
/// Borrows the table of stage types.
struct Graph {
  std::filesystem::path file;
  ModelSettings model;
  InputSettings inputs;
  std::vector<GraphStage> stages;
  std::filesystem::path output_path;              ///< empty: none named
  std::vector<stages::SubtitleFormat> subtitles;  ///< written beside the output
  std::filesystem::path subtitles_folder;         ///< empty: "<output_path>.subtitles"
  Limits limits;

  /// Names of the stages whose results can be subtitles.
  std::vector<std::string> transcripts() const;
  bool needs_model() const;  ///< true if any stage is a language stage
};

/// Checks everything that can be known without opening an input. Throws ConfigError
/// with the place and, for a wrong name, the nearest valid one.
/// `types` is sorted by name and must outlive the graph.
Graph build_graph(const GraphSpec& spec, const std::filesystem::path& password_file = {},
                  std::span<const stages::StageType> types = stages::stage_types());

/// The transforms of the graph, at the indices that they have there. Borrows the graph.
stages::DecodePlan decode_plan(const Graph& graph);

/// The kind of unit that an item of this type belongs to; none for whole inputs.
std::optional<stages::UnitKind> unit_kind(stages::ItemType type);

/// The resolved graph as YAML that parses again to the same Graph, every default filled in
/// ("null": a parameter that has none and is absent). Paths stand as written.
std::string graph_to_yaml(const Graph& graph);
/// The same as a Graphviz digraph.
std::string graph_to_dot(const Graph& graph);
/// SHA-256 over what influences results (stages, parameters, contents of schema and template
/// files, the types of weights and of keys and values where a model is used; not paths of model, inputs or
/// output, not limits), as hex.
std::string graph_fingerprint(const Graph& graph);

}  // namespace reelfolio::pipeline
