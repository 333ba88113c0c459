#include "cli/settings.h"

#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "cli/cpu_count.h"
#include "engine/kernels/quant_kernels.h"
#include "engine/kernels/row_kernels.h"
#include "pipeline/error.h"
#include "tests/support/catch.h"

using namespace reelfolio;
using namespace reelfolio::cli;

namespace {

template <class Flags>
Flags flags_of(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "reelfolio");
  return std::get<Flags>(parse_command_line(static_cast<int>(arguments.size()), arguments.data()));
}

template <class Call>
std::string config_error(Call&& call) {
  try {
    call();
  } catch (const pipeline::ConfigError& error) {
    return error.what();
  }
  return "";
}

Environment variables(std::map<std::string, std::string> values) {
  return [values = std::move(values)](const std::string& name) {
    const auto found = values.find(name);
    return found == values.end() ? std::string() : found->second;
  };
}

std::string entry(const pipeline::SpecValue::Map& map, const std::string& key) {
  for (const auto& each : map) {
    if (each.key == key) return std::get<pipeline::SpecValue::Scalar>(each.value.data).text;
  }
  return "(none)";
}

constexpr const char* kGraph = R"(version: 1
model: {path: from-graph, weights: bf16}
stages: {caption: {use: caption, from: images}}
output: {path: graph.jsonl}
)";

/// The model path that a run would use.
std::string model_path(std::vector<const char*> arguments, const Environment& environment) {
  arguments.insert(arguments.begin(), {"run", "g.yaml"});
  pipeline::GraphSpec spec = pipeline::parse_graph(kGraph, "g.yaml");
  apply_flags(spec, flags_of<RunFlags>(arguments), environment);
  return entry(spec.model, "path");
}

}  // namespace

TEST_CASE("settings: flags win over --set, --set over variables, variables over the graph") {
  const Environment none = variables({});
  const Environment variable = variables({{"REELFOLIO_MODEL", "from-variable"}});
  CHECK(model_path({}, none) == "from-graph");
  CHECK(model_path({}, variable) == "from-variable");
  CHECK(model_path({"--set", "model.path=from-set"}, variable) == "from-set");
  CHECK(model_path({"--set", "model.path=from-set", "--model", "from-flag"}, variable) == "from-flag");
}

TEST_CASE("settings: values of flags are text, not YAML") {
  CHECK(model_path({"--model", "a: [b"}, variables({})) == "a: [b");
  CHECK(model_path({"--model", "{x}#y"}, variables({})) == "{x}#y");
}

TEST_CASE("settings: an empty variable counts as unset") {
  CHECK(model_path({}, variables({{"REELFOLIO_MODEL", ""}})) == "from-graph");
}

TEST_CASE("settings: flags and variables that the graph does not hold") {
  const auto flags = flags_of<RunFlags>({"run", "g.yaml"});
  const Environment environment = variables({{"REELFOLIO_THREADS", "5"},
                                             {"REELFOLIO_PROGRESS", "json"},
                                             {"REELFOLIO_LOG_LEVEL", "debug"},
                                             {"REELFOLIO_PASSWORD_FILE", "/dev/null"}});
  const ProcessSettings settings = resolve(flags, environment);
  CHECK(settings.threads == 5);
  CHECK(settings.progress == ProgressMode::json);
  CHECK(settings.log_level == LogLevel::debug);
  CHECK(settings.password_file == "/dev/null");
  const ProcessSettings typed =
      resolve(flags_of<RunFlags>({"run", "g.yaml", "--threads", "2", "--progress", "plain", "--log-level",
                                  "error", "--password-file", "/dev/zero"}),
              environment);
  CHECK(typed.threads == 2);
  CHECK(typed.progress == ProgressMode::plain);
  CHECK(typed.log_level == LogLevel::error);
  CHECK(typed.password_file == "/dev/zero");
  CHECK(resolve(flags, variables({})).threads == usable_cpus());
}

TEST_CASE("settings: --kernels wins over its variable, and forces the kernels that it names") {
  const auto flags = flags_of<RunFlags>({"run", "g.yaml", "--kernels", "ref"});
  const Environment variable = variables({{"REELFOLIO_KERNELS", "avx2"}});
  CHECK(resolve(flags, variable).kernels == "ref");
  CHECK(resolve(flags_of<RunFlags>({"run", "g.yaml"}), variable).kernels == "avx2");
  CHECK(resolve(flags_of<RunFlags>({"run", "g.yaml"}), variables({})).kernels == "auto");
  CHECK(config_error([&] {
          resolve(flags_of<RunFlags>({"run", "g.yaml", "--kernels", "neon"}), variable);
        }) == "--kernels is 'neon', expected auto, avx512, avx2 or ref");
  const std::string best = reelfolio::engine::kernels::quant_kernels().name;
  use_kernels(resolve(flags, variable));
  CHECK(std::string(reelfolio::engine::kernels::quant_kernels().name) == "ref");
  CHECK(std::string(reelfolio::engine::kernels::row_kernels().name) == "ref");
  use_kernels({});
  CHECK(std::string(reelfolio::engine::kernels::quant_kernels().name) == best);
}

TEST_CASE("settings: a password file that cannot be read is refused under the name that gave it") {
  const auto flags = flags_of<RunFlags>({"run", "g.yaml", "--password-file", "/nonexistent/p"});
  CHECK(config_error([&] { resolve(flags, variables({})); }) ==
        "--password-file is '/nonexistent/p', which cannot be read: no such file or directory");
  const auto none = flags_of<RunFlags>({"run", "g.yaml"});
  CHECK(config_error([&] {
          resolve(none, variables({{"REELFOLIO_PASSWORD_FILE", "/"}}));
        }) == "REELFOLIO_PASSWORD_FILE is '/', which is a folder");
}

TEST_CASE("settings: -q shows errors alone and no progress") {
  const ProcessSettings settings = resolve(flags_of<RunFlags>({"run", "g.yaml", "-q"}), variables({}));
  CHECK(settings.log_level == LogLevel::error);
  CHECK(settings.progress == ProgressMode::none);
}

TEST_CASE("settings: a wrong value is refused under the name of the variable or flag that holds it") {
  const auto flags = flags_of<RunFlags>({"run", "g.yaml"});
  CHECK(config_error([&] {
          resolve(flags, variables({{"REELFOLIO_THREADS", "x"}}));
        }).find("REELFOLIO_THREADS is 'x'") == 0);
  CHECK(config_error([&] {
          resolve(flags, variables({{"REELFOLIO_PROGRESS", "loud"}}));
        }) == "REELFOLIO_PROGRESS is 'loud', expected auto, plain, json or none");
  CHECK(config_error([&] {
          resolve(flags_of<RunFlags>({"run", "g.yaml", "--log-level", "x"}), variables({}));
        }).find("--log-level is 'x'") == 0);
  pipeline::GraphSpec spec = pipeline::parse_graph(kGraph, "g.yaml");
  CHECK(config_error([&] {
          apply_flags(spec, flags_of<RunFlags>({"run", "g", "--weights", "int9"}), variables({}));
        }) == "--weights is 'int9', expected bf16, f32, int8, int4 or int2");
  CHECK(config_error([&] {
          apply_flags(spec, flags, variables({{"REELFOLIO_DECODERS", "-1"}}));
        }).find("REELFOLIO_DECODERS is '-1'") == 0);
}

TEST_CASE("settings: ask needs a model from a flag or a variable") {
  const auto flags = flags_of<AskFlags>({"ask", "a.png", "x"});
  CHECK(config_error([&] { resolve_model(flags, variables({})); }).find("no model is named") == 0);
  CHECK(resolve_model(flags, variables({{"REELFOLIO_MODEL", "m"}})).path == "m");
}

TEST_CASE("cpu_count: cgroup quotas round up, and what is none counts as none") {
  CHECK(cpu_quota("150000 100000") == 2);
  CHECK(cpu_quota("200000 100000") == 2);
  CHECK(cpu_quota("1000 100000") == 1);
  CHECK(cpu_quota("max 100000") == 0);
  CHECK(cpu_quota("-1 100000") == 0);
  CHECK(cpu_quota("") == 0);
  CHECK(cpu_quota("100000 0") == 0);
  CHECK(usable_cpus() >= 1);
}
