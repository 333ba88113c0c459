#include "pipeline/graph.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "pipeline/file_hash.h"
#include "pipeline/graph_settings.h"
#include "pipeline/names.h"
#include "pipeline/param_values.h"

namespace reelfolio::pipeline {

namespace {

using stages::ItemType;
using stages::StageType;

constexpr std::array<ItemType, 5> kInputTypes = {ItemType::video, ItemType::pdf, ItemType::image_file,
                                                 ItemType::sound, ItemType::text_file};
constexpr std::string_view kInputsName = "inputs";

/// A name that stands for the inputs of one kind, as a stage that `from` brings along.
struct NamedInputs {
  std::string_view name;
  std::string_view type;  ///< of the stage
  ItemType takes;         ///< nothing else, whatever the type accepts
  std::string_view what;
};
constexpr std::array<NamedInputs, 2> kNamedInputs = {
    {{"images", "read_images", ItemType::image_file, "the images among the inputs"},
     {"sounds", "split_audio", ItemType::sound, "the sound files among the inputs"}}};

const NamedInputs* find_named_inputs(std::string_view name) {
  const auto found = std::find_if(kNamedInputs.begin(), kNamedInputs.end(),
                                  [&](const NamedInputs& named) { return named.name == name; });
  return found == kNamedInputs.end() ? nullptr : &*found;
}

/// A stage on its way from spec to graph.
struct Draft {
  const StageSpec* spec = nullptr;  ///< null: a stage that is not written, with its defaults
  std::string name;
  SourceLocation where;
  const StageType* type = nullptr;
  std::vector<int> from;
  std::vector<SourceLocation> from_where;  ///< of each element of `from`
  std::vector<ItemType> receives;
};

const SpecValue::MapEntry* find_entry(const SpecValue::Map& map, std::string_view key) {
  const auto found =
      std::find_if(map.begin(), map.end(), [&](const auto& entry) { return entry.key == key; });
  return found == map.end() ? nullptr : &*found;
}

const StageType* find_type(std::span<const StageType> types, std::string_view name) {
  const auto found =
      std::find_if(types.begin(), types.end(), [&](const auto& type) { return type.name == name; });
  return found == types.end() ? nullptr : &*found;
}

bool contains(const std::vector<ItemType>& types, ItemType type) {
  return std::find(types.begin(), types.end(), type) != types.end();
}

std::string type_list(std::span<const ItemType> types, std::string_view last_separator) {
  std::vector<std::string> names;
  for (ItemType type : types) names.emplace_back(stages::item_type_name(type));
  return joined(names, last_separator);
}

const StageType* read_use(const StageSpec& spec, std::span<const StageType> types) {
  const auto* use = find_entry(spec.entries, "use");
  if (use == nullptr) throw ConfigError(spec.where, "stage " + in_quotes(spec.name) + " has no 'use'");
  std::vector<std::string> names;
  for (const StageType& type : types) names.emplace_back(type.name);
  const auto* scalar = std::get_if<SpecValue::Scalar>(&use->value.data);
  if (scalar == nullptr) {
    throw ConfigError(use->value.where,
                      "'use' is " + describe(use->value) + ", expected the name of a stage type");
  }
  const StageType* type = find_type(types, scalar->text);
  if (type == nullptr) {
    throw ConfigError(use->value.where,
                      "unknown stage type " + in_quotes(scalar->text) + suggestion(scalar->text, names));
  }
  const NamedInputs* named = find_named_inputs(spec.name);
  if (spec.name == kInputsName || (named != nullptr && scalar->text != named->type)) {
    throw ConfigError(spec.where, "stage name " + in_quotes(spec.name) + " is taken: it stands for " +
                                      (named != nullptr ? std::string(named->what) : "what is put in"));
  }
  return type;
}

/// The names in `from`, each with its place.
std::vector<std::pair<std::string, SourceLocation>> read_from(const StageSpec& spec) {
  const auto* from = find_entry(spec.entries, "from");
  if (from == nullptr) {
    throw ConfigError(spec.where,
                      "stage " + in_quotes(spec.name) + " has no 'from', expected 'inputs' or other stages");
  }
  std::vector<std::pair<std::string, SourceLocation>> names;
  const auto add = [&](const SpecValue& value) {
    const auto* scalar = std::get_if<SpecValue::Scalar>(&value.data);
    if (scalar == nullptr) {
      throw ConfigError(value.where, "'from' is " + describe(value) + ", expected names of stages");
    }
    for (const auto& [name, place] : names) {
      if (name == scalar->text) throw ConfigError(value.where, "'from' names " + in_quotes(name) + " twice");
    }
    names.emplace_back(scalar->text, value.where);
  };
  if (const auto* list = std::get_if<SpecValue::List>(&from->value.data)) {
    if (list->empty())
      throw ConfigError(from->value.where, "'from' is an empty list, expected names of stages");
    for (const SpecValue& value : *list) add(value);
  } else {
    add(from->value);
  }
  return names;
}

/// All stages with their types and sources resolved, the implicit `images` first.
std::vector<Draft> read_stages(const GraphSpec& spec, std::span<const StageType> types) {
  std::vector<std::vector<std::pair<std::string, SourceLocation>>> sources;
  std::vector<Draft> drafts;
  for (const StageSpec& stage : spec.stages) {
    drafts.push_back({&stage, stage.name, stage.where, read_use(stage, types), {}, {}, {}});
    sources.push_back(read_from(stage));
  }
  // From the last to the first, so that they stand in the table's order in front.
  for (auto named = kNamedInputs.rbegin(); named != kNamedInputs.rend(); ++named) {
    const StageType* type = find_type(types, named->type);
    const bool written = std::any_of(drafts.begin(), drafts.end(),
                                     [&](const Draft& draft) { return draft.name == named->name; });
    if (written || type == nullptr) continue;
    std::optional<SourceLocation> where;
    for (const auto& names : sources) {
      for (const auto& [name, place] : names) {
        if (name == named->name && !where) where = place;
      }
    }
    if (!where) continue;
    drafts.insert(drafts.begin(), Draft{nullptr, std::string(named->name), *where, type, {}, {}, {}});
    sources.insert(sources.begin(), {{std::string(kInputsName), *where}});
  }

  for (std::size_t i = 0; i < drafts.size(); ++i) {
    for (const auto& source : sources[i]) {
      // No structured binding: clang 14 does not let the lambda below use one.
      const std::string& name = source.first;
      const SourceLocation& where = source.second;
      int index = GraphStage::kInputs;
      if (name != kInputsName) {
        const auto found =
            std::find_if(drafts.begin(), drafts.end(), [&](const Draft& d) { return d.name == name; });
        if (found == drafts.end()) {
          std::vector<std::string> names = {std::string(kInputsName)};
          for (const NamedInputs& named : kNamedInputs) names.emplace_back(named.name);
          for (const Draft& draft : drafts) {
            if (draft.name != drafts[i].name && find_named_inputs(draft.name) == nullptr) {
              names.push_back(draft.name);
            }
          }
          throw ConfigError(where, "'from' names " + in_quotes(name) + ", and there is no such stage" +
                                       suggestion(name, names));
        }
        index = static_cast<int>(found - drafts.begin());
      }
      drafts[i].from.push_back(index);
      drafts[i].from_where.push_back(where);
    }
  }
  return drafts;
}

/// Null: there are none. What such a stage is and takes cannot be set.
const StageSpec* find_settings(const std::vector<StageSpec>& settings, const std::string& name) {
  const auto found = std::find_if(settings.begin(), settings.end(),
                                  [&](const StageSpec& each) { return each.name == name; });
  if (found == settings.end()) return nullptr;
  for (const char* fixed : {"use", "from"}) {
    if (const auto* entry = find_entry(found->entries, fixed)) {
      throw ConfigError(
          entry->key_where,
          "stage " + in_quotes(name) + " is not written in the graph: its parameters alone can be set");
    }
  }
  return &*found;
}

/// Puts the stage type that a type goes `through` before it, where a source gives what that one takes and
/// the type itself does not: one for each source, named after it, in front of the first that needs it.
/// `settings` are those of such stages, by name.
void add_implied_stages(std::vector<Draft>& drafts, std::span<const StageType> types,
                        const std::vector<StageSpec>& settings) {
  const auto takes_any = [](const StageType& type, const std::vector<ItemType>& items) {
    return std::any_of(type.accepts.begin(), type.accepts.end(),
                       [&](ItemType t) { return contains(items, t); });
  };
  std::map<std::pair<std::string, std::string>, std::string> implied;  // stage type and source -> its name
  for (std::size_t taker = 0; taker < drafts.size(); ++taker) {
    const StageType* through = find_type(types, drafts[taker].type->through);
    if (through == nullptr) continue;
    for (std::size_t i = 0; i < drafts[taker].from.size(); ++i) {
      const int source = drafts[taker].from[i];
      const std::vector<ItemType> given = source == GraphStage::kInputs
                                              ? std::vector<ItemType>(kInputTypes.begin(), kInputTypes.end())
                                              : drafts[source].type->produces;
      if (takes_any(*drafts[taker].type, given) || !takes_any(*through, given)) continue;
      const std::string source_name =
          source == GraphStage::kInputs ? std::string(kInputsName) : drafts[source].name;
      const auto named = [&](const std::string& name) {
        return std::find_if(drafts.begin(), drafts.end(), [&](const Draft& d) { return d.name == name; });
      };
      std::string& name = implied[{std::string(through->name), source_name}];
      if (name.empty()) {
        name = source_name + "_" + std::string(through->name);
        while (named(name) != drafts.end()) name += "_";
        const SourceLocation where = drafts[taker].from_where[i];
        for (Draft& draft : drafts) {
          for (int& from : draft.from) {
            if (from >= static_cast<int>(taker)) ++from;
          }
        }
        const int from = source >= static_cast<int>(taker) ? source + 1 : source;
        drafts.insert(drafts.begin() + static_cast<std::ptrdiff_t>(taker),
                      Draft{find_settings(settings, name), name, where, through, {from}, {where}, {}});
        ++taker;
      }
      drafts[taker].from[i] = static_cast<int>(named(name) - drafts.begin());
    }
  }
  for (const StageSpec& each : settings) {
    const bool is_used =
        std::any_of(drafts.begin(), drafts.end(), [&](const Draft& draft) { return draft.spec == &each; });
    if (is_used) continue;
    std::vector<std::string> names;
    for (const Draft& draft : drafts) names.push_back(draft.name);
    throw no_such_stage(each.where, each.name, std::move(names));
  }
}

/// Stages with every source before its takers. Throws for a cycle, naming its path.
std::vector<int> sorted_by_flow(const std::vector<Draft>& drafts) {
  enum class Mark { unseen, open, done };
  std::vector<Mark> marks(drafts.size(), Mark::unseen);
  std::vector<int> order;
  // Walks from each stage to its sources; `path` holds the stages of the walk and, for
  // each, which of its sources comes next. No recursion: a graph may be one long chain.
  for (std::size_t start = 0; start < drafts.size(); ++start) {
    std::vector<std::pair<int, std::size_t>> path;
    if (marks[start] == Mark::unseen) path.emplace_back(static_cast<int>(start), 0);
    while (!path.empty()) {
      auto& [stage, next] = path.back();
      marks[stage] = Mark::open;
      if (next == drafts[stage].from.size()) {
        marks[stage] = Mark::done;
        order.push_back(stage);
        path.pop_back();
        continue;
      }
      const int source = drafts[stage].from[next++];
      if (source == GraphStage::kInputs || marks[source] == Mark::done) continue;
      if (marks[source] == Mark::unseen) {
        path.emplace_back(source, 0);
        continue;
      }
      // From the source along the flow: the stages of the path from its end to the source.
      std::string cycle = drafts[source].name;
      for (auto at = path.rbegin(); at != path.rend(); ++at) {
        cycle += " -> " + drafts[at->first].name;
        if (at->first == source) break;
      }
      throw ConfigError(drafts[stage].from_where[next - 1], "stages form a cycle: " + cycle);
    }
  }
  return order;
}

/// What a draft (or `inputs`) gives to those that name it; the draft's `receives` is known.
std::vector<ItemType> products(const std::vector<Draft>& drafts, int index) {
  if (index == GraphStage::kInputs) return {kInputTypes.begin(), kInputTypes.end()};
  const Draft& draft = drafts[index];
  return draft.type->gives != nullptr ? draft.type->gives(draft.receives) : draft.type->produces;
}

/// " (put a sample_frames stage between)": which chains of stage types lead from `given` to `wanted`;
/// the shortest ones are named.
std::string bridge_hint(const std::vector<ItemType>& given, const std::vector<ItemType>& wanted,
                        std::span<const StageType> types) {
  const auto takes = [](const StageType& type, const std::vector<ItemType>& items) {
    return std::any_of(type.accepts.begin(), type.accepts.end(),
                       [&](ItemType t) { return contains(items, t); });
  };
  std::vector<std::string> single;
  std::string pair;
  for (const StageType& first : types) {
    if (first.produces.empty() || !takes(first, given)) continue;
    if (std::any_of(first.produces.begin(), first.produces.end(),
                    [&](ItemType t) { return contains(wanted, t); })) {
      single.emplace_back(first.name);
      continue;
    }
    for (const StageType& second : types) {
      if (!pair.empty() || second.produces.empty() || !takes(second, first.produces)) continue;
      if (std::any_of(second.produces.begin(), second.produces.end(),
                      [&](ItemType t) { return contains(wanted, t); })) {
        pair = "; put a " + std::string(first.name) + " and a " + std::string(second.name) + " stage between";
      }
    }
  }
  if (!single.empty()) return "; put a " + joined(single, " or ") + " stage between";
  return pair;
}

/// Fills `receives` in and refuses stages that get nothing, or the same unit twice: a unit's
/// line has one place for each stage's result.
void check_flow(std::vector<Draft>& drafts, std::span<const StageType> types) {
  // The stages that cut the units which reach a stage's takers.
  std::vector<std::set<int>> origins(drafts.size());
  for (int index : sorted_by_flow(drafts)) {
    Draft& draft = drafts[index];
    std::map<int, int> source_of_origin;
    for (std::size_t i = 0; i < draft.from.size(); ++i) {
      const int source = draft.from[i];
      const std::vector<ItemType> given = products(drafts, source);
      bool any = false;
      bool passes_units = false;
      const NamedInputs* named = find_named_inputs(draft.name);
      for (ItemType type : given) {
        if (!contains(draft.type->accepts, type) || (named != nullptr && type != named->takes)) continue;
        any = true;
        if (!contains(draft.receives, type)) draft.receives.push_back(type);
        passes_units =
            passes_units ||
            (unit_kind(type) && std::any_of(draft.type->produces.begin(), draft.type->produces.end(),
                                            [&](ItemType t) { return unit_kind(t) == unit_kind(type); }));
      }
      if (!any) {
        const std::string source_name =
            source == GraphStage::kInputs ? "'inputs'" : in_quotes(drafts[source].name);
        const std::string gives = given.empty() ? source_name + " gives nothing to other stages"
                                                : source_name + " gives " + type_list(given, " and ");
        throw ConfigError(draft.from_where[i], "stage " + in_quotes(draft.name) +
                                                   " can never receive anything from " + source_name + ": " +
                                                   std::string(draft.type->name) + " takes " +
                                                   type_list(draft.type->accepts, " and ") + ", " + gives +
                                                   bridge_hint(given, draft.type->accepts, types));
      }
      if (source == GraphStage::kInputs) continue;
      for (int origin : origins[source]) {
        const auto [first, is_new] = source_of_origin.emplace(origin, source);
        if (!is_new) {
          throw ConfigError(draft.from_where[i], "stage " + in_quotes(draft.name) +
                                                     " would receive every unit of " +
                                                     in_quotes(drafts[origin].name) + " twice, from " +
                                                     in_quotes(drafts[first->second].name) + " and from " +
                                                     in_quotes(drafts[source].name) + "; use two stages");
        }
      }
      if (passes_units) origins[index].insert(origins[source].begin(), origins[source].end());
    }
    const bool takes_inputs =
        std::find(draft.from.begin(), draft.from.end(), GraphStage::kInputs) != draft.from.end();
    if (takes_inputs || origins[index].empty()) origins[index].insert(index);
  }
}

SourceLocation param_place(const Draft& draft, const std::string& param) {
  if (draft.spec == nullptr) return draft.where;
  const auto* entry = find_entry(draft.spec->entries, param);
  return entry == nullptr ? draft.where : entry->value.where;
}

/// Hashes of the files that parameters of type path name.
std::map<std::string, std::string> hash_files(const Draft& draft, const stages::Params& params,
                                              const std::filesystem::path& folder) {
  std::map<std::string, std::string> hashes;
  for (const stages::ParamSpec& spec : draft.type->params) {
    if (spec.type != stages::ParamType::path || !params.has(spec.name)) continue;
    std::string error;
    const auto hash = sha256_of_file(folder / params.text(spec.name), error);
    if (!hash) {
      throw ConfigError(param_place(draft, spec.name),
                        in_quotes(spec.name) + " names " +
                            in_quotes((folder / params.text(spec.name)).string()) +
                            ", which cannot be read: " + error);
    }
    hashes.emplace(spec.name, *hash);
  }
  return hashes;
}

GraphStage build_stage(const Draft& draft, const std::filesystem::path& folder,
                       const std::filesystem::path& password_file) {
  static const SpecValue::Map kNoEntries;
  GraphStage stage;
  stage.name = draft.name;
  stage.type = draft.type;
  stage.from = draft.from;
  stage.receives = draft.receives;
  stage.params = read_params(draft.spec != nullptr ? draft.spec->entries : kNoEntries, draft.type->params,
                             {"use", "from"}, "stage " + in_quotes(draft.name), draft.where);
  const stages::StageContext context{draft.name, folder, password_file, draft.receives};
  try {
    if (draft.type->make_transform != nullptr) {
      stage.transform = draft.type->make_transform(stage.params, context);
    } else {
      stage.language = draft.type->make_language(stage.params, context);
    }
  } catch (const stages::ParamError& error) {
    // A message that does not say which parameter is meant gets its name.
    std::string message = error.what();
    if (message.find(error.param()) == std::string::npos) message = in_quotes(error.param()) + ": " + message;
    throw ConfigError(param_place(draft, error.param()), message);
  }
  stage.file_sha256 = hash_files(draft, stage.params, folder);
  return stage;
}

}  // namespace

std::vector<std::string> Graph::transcripts() const {
  std::vector<std::string> names;
  for (const GraphStage& stage : stages) {
    if (stage.type->name == "transcribe") names.push_back(stage.name);
  }
  return names;
}

bool Graph::needs_model() const {
  return std::any_of(stages.begin(), stages.end(),
                     [](const GraphStage& stage) { return stage.language != nullptr; });
}

Graph build_graph(const GraphSpec& spec, const std::filesystem::path& password_file,
                  std::span<const StageType> types) {
  check_version(spec);
  Graph graph;
  graph.file = spec.file;
  graph.model = read_model_settings(spec.model);
  graph.inputs = read_input_settings(spec.inputs);
  OutputSettings output = read_output_settings(spec.output);
  graph.output_path = std::move(output.path);
  graph.subtitles = std::move(output.subtitles);
  graph.subtitles_folder = std::move(output.subtitles_folder);
  graph.limits = read_limits(spec.limits);
  if (spec.stages.empty()) {
    throw ConfigError(SourceLocation{spec.file.string(), 0, 0}, "has no 'stages', expected at least one");
  }
  std::vector<Draft> drafts = read_stages(spec, types);
  add_implied_stages(drafts, types, spec.implied);
  check_flow(drafts, types);
  std::filesystem::path folder = spec.file.parent_path();
  if (folder.empty()) folder = ".";
  for (const Draft& draft : drafts) graph.stages.push_back(build_stage(draft, folder, password_file));
  if (!graph.subtitles.empty() && graph.transcripts().empty()) {
    throw ConfigError(find_entry(spec.output, "subtitles")->key_where,
                      "'subtitles' are made of what a transcribe stage hears, and there is none");
  }
  return graph;
}

std::optional<stages::UnitKind> unit_kind(stages::ItemType type) {
  switch (type) {
    case ItemType::scene:
    case ItemType::frames:
    case ItemType::heard_scene:
    case ItemType::heard_frames:
      return stages::UnitKind::scene;
    case ItemType::page:
      return stages::UnitKind::page;
    case ItemType::image:
      return stages::UnitKind::image;
    case ItemType::clip:
      return stages::UnitKind::clip;
    case ItemType::text:
      return stages::UnitKind::text;
    case ItemType::video:
    case ItemType::pdf:
    case ItemType::image_file:
    case ItemType::sound:
    case ItemType::text_file:
      break;
  }
  return std::nullopt;
}

stages::DecodePlan decode_plan(const Graph& graph) {
  stages::DecodePlan plan;
  for (const GraphStage& stage : graph.stages) {
    plan.stages.push_back({stage.name, stage.transform.get(), stage.from, stage.receives});
  }
  return plan;
}

}  // namespace reelfolio::pipeline
