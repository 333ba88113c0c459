#include "cli/options.h"

#include <map>
#include <variant>

#include "cli/cpu_count.h"
#include "engine/kernels/quant_kernels.h"
#include "engine/kernels/row_kernels.h"
#include "pipeline/error.h"
#include "tests/support/catch.h"

using namespace reelfolio;
using namespace reelfolio::cli;

namespace {

CommandLine parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "reelfolio");
  return parse_command_line(static_cast<int>(arguments.size()), arguments.data());
}

template <class Flags>
Flags parse_as(std::vector<const char*> arguments) {
  return std::get<Flags>(parse(std::move(arguments)));
}

std::string refusal(std::vector<const char*> arguments) {
  try {
    parse(std::move(arguments));
  } catch (const pipeline::ConfigError& error) {
    const std::string message = error.what();
    return message.substr(0, message.find('\n'));
  }
  return "";
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
  apply_flags(spec, parse_as<RunFlags>(arguments), environment);
  return entry(spec.model, "path");
}

}  // namespace

TEST_CASE("options: run takes its flags before and after the inputs") {
  const auto flags = parse_as<RunFlags>({"run", "--threads", "3", "g.yaml", "a.mp4", "-o", "out.jsonl", "b",
                                         "--set", "x.y=1", "-", "--set=x.z=a b", "--limit=2", "--dry-run"});
  CHECK(flags.graph == "g.yaml");
  CHECK(flags.inputs == std::vector<std::string>{"a.mp4", "b", "-"});
  CHECK(flags.output == "out.jsonl");
  CHECK(flags.settings == std::vector<std::string>{"x.y=1", "x.z=a b"});
  CHECK(flags.threads == 3);
  CHECK(flags.limit == 2U);
  CHECK(flags.dry_run);
  CHECK_FALSE(flags.explain);
}

TEST_CASE("options: - as output and as input stay what they are") {
  const auto flags = parse_as<RunFlags>({"run", "g.yaml", "-", "-o", "-"});
  CHECK(flags.inputs == std::vector<std::string>{"-"});
  CHECK(flags.output == "-");
}

TEST_CASE("options: the last of a repeated flag counts") {
  CHECK(parse_as<RunFlags>({"run", "g.yaml", "--model", "a", "--model", "b"}).model == "b");
}

TEST_CASE("options: ask splits files from the question") {
  const auto flags =
      parse_as<AskFlags>({"ask", "a.png", "b.pdf", "What now?", "--soft-tokens", "560", "--thinking"});
  CHECK(flags.files == std::vector<std::string>{"a.png", "b.pdf"});
  CHECK(flags.question == "What now?");
  CHECK(flags.soft_tokens == 560);
  CHECK(flags.thinking);
  CHECK(refusal({"ask", "a.png"}).find("expected at least one file and, last, the question") !=
        std::string::npos);
  CHECK(refusal({"ask", "a.png", "x", "--soft-tokens", "300"}).find("expected 70, 140, 280, 560 or 1120") !=
        std::string::npos);
}

TEST_CASE("options: model commands take a directory and texts") {
  CHECK(parse_as<InspectFlags>({"model", "inspect", "dir"}).model == "dir");
  CHECK(parse_as<TokenizeFlags>({"model", "tokenize", "dir", "-"}).texts == std::vector<std::string>{"-"});
  CHECK(parse_as<TokenizeFlags>({"model", "tokenize", "dir", "--", "-a", "b"}).texts ==
        std::vector<std::string>{"-a", "b"});
}

TEST_CASE("options: a wrong flag is named with the nearest right one") {
  CHECK(refusal({"run", "g.yaml", "--modle", "x"}) ==
        "reelfolio run: unknown option '--modle'; did you mean '--model'?");
  CHECK(refusal({"run", "--modle=x"}) == "reelfolio run: unknown option '--modle'; did you mean '--model'?");
  CHECK(refusal({"check", "g.yaml", "--dott"}) ==
        "reelfolio check: unknown option '--dott'; did you mean '--dot'?");
  CHECK(refusal({"run", "g.yaml", "-x"}) == "reelfolio run: unknown option '-x'");
}

TEST_CASE("options: a wrong command is named with the nearest right one") {
  CHECK(refusal({"rnu", "g.yaml"}) == "reelfolio: unknown command 'rnu'; did you mean 'run'?");
  CHECK(refusal({"model", "inspct", "d"}) ==
        "reelfolio model: unknown command 'inspct'; did you mean 'inspect'?");
  CHECK(refusal({"model"}) == "reelfolio model: a command is missing: inspect, pack or tokenize");
}

TEST_CASE("options: missing arguments and wrong values are named") {
  CHECK(refusal({"run"}).find("reelfolio run: GRAPH is required") == 0);
  CHECK(refusal({"run", "g.yaml", "--threads", "many"}) ==
        "--threads is 'many', expected a whole number from 1 to 1024");
  CHECK(refusal({"run", "g.yaml", "--threads", "0"}).find("--threads is '0'") == 0);
  CHECK(refusal({"run", "g.yaml", "--model"}).find("--model") != std::string::npos);
}

TEST_CASE("options: help and version are text for stdout") {
  CHECK(parse_as<HelpText>({"--version"}).text.find("reelfolio ") == 0);
  CHECK(parse_as<HelpText>({}).text.find("Examples:") != std::string::npos);
  const std::string help = parse_as<HelpText>({"run", "--help"}).text;
  CHECK(help.find("Examples:") != std::string::npos);
  for (const char* flag :
       {"--output", "--model", "--weights", "--set", "--threads", "--decoders", "--limit", "--dry-run",
        "--explain", "--progress", "--log-level", "--quiet", "--password-file"}) {
    CAPTURE(flag);
    CHECK(help.find(flag) != std::string::npos);
  }
  CHECK(parse_as<HelpText>({"model", "tokenize", "--help"}).text.find("JSON strings") != std::string::npos);
}

TEST_CASE("options: flags win over --set, --set over variables, variables over the graph") {
  const Environment none = variables({});
  const Environment variable = variables({{"REELFOLIO_MODEL", "from-variable"}});
  CHECK(model_path({}, none) == "from-graph");
  CHECK(model_path({}, variable) == "from-variable");
  CHECK(model_path({"--set", "model.path=from-set"}, variable) == "from-set");
  CHECK(model_path({"--set", "model.path=from-set", "--model", "from-flag"}, variable) == "from-flag");
}

TEST_CASE("options: values of flags are text, not YAML") {
  CHECK(model_path({"--model", "a: [b"}, variables({})) == "a: [b");
  CHECK(model_path({"--model", "{x}#y"}, variables({})) == "{x}#y");
}

TEST_CASE("options: an empty variable counts as unset") {
  CHECK(model_path({}, variables({{"REELFOLIO_MODEL", ""}})) == "from-graph");
}

TEST_CASE("options: flags and variables that the graph does not hold") {
  const auto flags = parse_as<RunFlags>({"run", "g.yaml"});
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
      resolve(parse_as<RunFlags>({"run", "g.yaml", "--threads", "2", "--progress", "plain", "--log-level",
                                  "error", "--password-file", "/dev/zero"}),
              environment);
  CHECK(typed.threads == 2);
  CHECK(typed.progress == ProgressMode::plain);
  CHECK(typed.log_level == LogLevel::error);
  CHECK(typed.password_file == "/dev/zero");
  CHECK(resolve(flags, variables({})).threads == usable_cpus());
}

TEST_CASE("options: --kernels wins over its variable, and forces the kernels that it names") {
  const auto flags = parse_as<RunFlags>({"run", "g.yaml", "--kernels", "ref"});
  const Environment variable = variables({{"REELFOLIO_KERNELS", "avx2"}});
  CHECK(resolve(flags, variable).kernels == "ref");
  CHECK(resolve(parse_as<RunFlags>({"run", "g.yaml"}), variable).kernels == "avx2");
  CHECK(resolve(parse_as<RunFlags>({"run", "g.yaml"}), variables({})).kernels == "auto");
  CHECK(config_error([&] {
          resolve(parse_as<RunFlags>({"run", "g.yaml", "--kernels", "neon"}), variable);
        }) == "--kernels is 'neon', expected auto, avx512, avx2 or ref");
  const std::string best = reelfolio::engine::kernels::quant_kernels().name;
  use_kernels(resolve(flags, variable));
  CHECK(std::string(reelfolio::engine::kernels::quant_kernels().name) == "ref");
  CHECK(std::string(reelfolio::engine::kernels::row_kernels().name) == "ref");
  use_kernels({});
  CHECK(std::string(reelfolio::engine::kernels::quant_kernels().name) == best);
}

TEST_CASE("options: a password file that cannot be read is refused under the name that gave it") {
  const auto flags = parse_as<RunFlags>({"run", "g.yaml", "--password-file", "/nonexistent/p"});
  CHECK(config_error([&] { resolve(flags, variables({})); }) ==
        "--password-file is '/nonexistent/p', which cannot be read: no such file or directory");
  const auto none = parse_as<RunFlags>({"run", "g.yaml"});
  CHECK(config_error([&] {
          resolve(none, variables({{"REELFOLIO_PASSWORD_FILE", "/"}}));
        }) == "REELFOLIO_PASSWORD_FILE is '/', which is a folder");
}

TEST_CASE("options: a missing value and a question that is a file are told as what they are") {
  CHECK(refusal({"run", "g.yaml", "--set"}) == "reelfolio run: --set needs a value: STAGE.KEY=VALUE");
  CHECK(refusal({"ask", "a.png", "/dev/null"}) ==
        "reelfolio ask: the last argument is the question, and '/dev/null' is a file");
}

TEST_CASE("options: -q shows errors alone and no progress") {
  const ProcessSettings settings = resolve(parse_as<RunFlags>({"run", "g.yaml", "-q"}), variables({}));
  CHECK(settings.log_level == LogLevel::error);
  CHECK(settings.progress == ProgressMode::none);
}

TEST_CASE("options: a wrong value is refused under the name of the variable or flag that holds it") {
  const auto flags = parse_as<RunFlags>({"run", "g.yaml"});
  CHECK(config_error([&] {
          resolve(flags, variables({{"REELFOLIO_THREADS", "x"}}));
        }).find("REELFOLIO_THREADS is 'x'") == 0);
  CHECK(config_error([&] {
          resolve(flags, variables({{"REELFOLIO_PROGRESS", "loud"}}));
        }) == "REELFOLIO_PROGRESS is 'loud', expected auto, plain, json or none");
  CHECK(config_error([&] {
          resolve(parse_as<RunFlags>({"run", "g.yaml", "--log-level", "x"}), variables({}));
        }).find("--log-level is 'x'") == 0);
  pipeline::GraphSpec spec = pipeline::parse_graph(kGraph, "g.yaml");
  CHECK(config_error([&] {
          apply_flags(spec, parse_as<RunFlags>({"run", "g", "--weights", "int9"}), variables({}));
        }) == "--weights is 'int9', expected bf16, f32, int8, int4 or int2");
  CHECK(config_error([&] {
          apply_flags(spec, flags, variables({{"REELFOLIO_DECODERS", "-1"}}));
        }).find("REELFOLIO_DECODERS is '-1'") == 0);
}

TEST_CASE("options: ask needs a model from a flag or a variable") {
  const auto flags = parse_as<AskFlags>({"ask", "a.png", "x"});
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
