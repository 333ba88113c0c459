#include <algorithm>
#include <cstddef>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/jsonl_index.h"
#include "cli/output_lock.h"
#include "pipeline/error.h"
#include "pipeline/names.h"
#include "pipeline/run_report.h"
#include "stages/output_file.h"

namespace reelfolio::cli {

namespace {

using nlohmann::json;
using pipeline::ConfigError;

struct Shard {
  std::unique_ptr<JsonlIndex> lines;
  json report;  ///< of its run; null: there is none
};

/// Where an input's lines go, and where they are.
struct Place {
  std::size_t shard = 0;
  std::size_t input = 0;
};

json read_report(const std::filesystem::path& output) {
  const std::filesystem::path path = pipeline::run_report_path(output);
  std::ifstream file(path, std::ios::binary);
  if (!file) return nullptr;
  json report = json::parse(file, nullptr, false);
  if (!report.is_object()) throw ConfigError(path.string() + ": is no run report");
  return report;
}

/// Shards that are not of one run make no sense together.
void check_reports(const std::vector<Shard>& shards) {
  const Shard& first = shards.front();
  std::set<json> numbers;
  for (const Shard& shard : shards) {
    const auto fail = [&](const std::string& why) {
      throw ConfigError(shard.lines->path().string() + ": " + why);
    };
    for (const char* key : {"graph_fingerprint", "model_fingerprint"}) {
      if (shard.report.value(key, json()) != first.report.value(key, json())) {
        fail("was made with another graph or model than " + first.lines->path().string());
      }
    }
    const json& own = shard.report["shard"];
    if (own.value("of", json()) != first.report["shard"].value("of", json())) {
      fail("is of another number of shards than " + first.lines->path().string());
    }
    if (!numbers.insert(own.value("index", json())).second) fail("is a shard that is there already");
  }
  const json of = first.report["shard"].value("of", json());
  if (of.is_number_unsigned() && of.get<std::size_t>() != shards.size()) {
    throw ConfigError("there are " + of.dump() + " shards, " + std::to_string(shards.size()) +
                      (shards.size() == 1 ? " is" : " are") + " given");
  }
}

/// Places by the position that each shard's run noted for its inputs.
std::optional<std::vector<Place>> places_by_report(const std::vector<Shard>& shards) {
  std::map<std::size_t, Place> places;
  for (std::size_t s = 0; s < shards.size(); ++s) {
    const json& report = shards[s].report;
    if (!report.is_object() || !report.contains("shard") || !report["shard"].is_object()) return std::nullopt;
    const json& positions = report["shard"].value("positions", json());
    const std::string& path = shards[s].lines->path().string();
    if (!positions.is_array() || positions.size() != shards[s].lines->inputs().size()) {
      throw ConfigError(path + ": the run report beside it is of another run");
    }
    for (std::size_t i = 0; i < positions.size(); ++i) {
      if (!positions[i].is_number_unsigned() ||
          !places.emplace(positions[i].get<std::size_t>(), Place{s, i}).second) {
        throw ConfigError(path + ": the run report beside it is of another run");
      }
    }
  }
  check_reports(shards);
  std::vector<Place> ordered;
  for (const auto& [position, place] : places) ordered.push_back(place);
  return ordered;
}

/// Places where each shard's inputs are in the order of their names, as those of one folder are.
std::vector<Place> places_by_name(const std::vector<Shard>& shards) {
  std::map<std::string, Place> places;
  for (std::size_t s = 0; s < shards.size(); ++s) {
    const auto& inputs = shards[s].lines->inputs();
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (i > 0 && inputs[i].name <= inputs[i - 1].name) {
        throw ConfigError(shards[s].lines->path().string() +
                          ": its inputs are not in the order of their names; " +
                          pipeline::run_report_path(shards[s].lines->path().filename()).string() +
                          ", which knows their order, has to be beside it");
      }
      places.emplace(inputs[i].name, Place{s, i});
    }
  }
  std::vector<Place> ordered;
  for (const auto& [name, place] : places) ordered.push_back(place);
  return ordered;
}

}  // namespace

ExitCode merge_command(const MergeFlags& flags) {
  std::vector<Shard> shards;
  std::map<std::string, std::string> owners;
  for (const std::string& path : flags.shards) {
    std::error_code ignored;
    if (std::filesystem::equivalent(path, flags.output, ignored)) {
      throw ConfigError("output " + pipeline::in_quotes(flags.output.string()) +
                        " is a shard; name another file");
    }
    Shard shard{std::make_unique<JsonlIndex>(path), read_report(path)};
    for (const JsonlIndex::Input& input : shard.lines->inputs()) {
      const auto [owner, is_new] = owners.emplace(input.name, path);
      if (!is_new)
        throw ConfigError(path + ": " + pipeline::in_quotes(input.name) + " is in " + owner->second + " too");
    }
    shards.push_back(std::move(shard));
  }
  std::optional<std::vector<Place>> places = places_by_report(shards);
  if (!places) places = places_by_name(shards);
  const OutputLock lock(flags.output);
  stages::OutputFile output(flags.output);
  for (const Place& place : *places) {
    JsonlIndex& lines = *shards[place.shard].lines;
    output.write(lines.lines(lines.inputs()[place.input]));
  }
  output.finish();
  return ExitCode::ok;
}

}  // namespace reelfolio::cli
