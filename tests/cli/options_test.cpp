#include "cli/options.h"

#include <string>
#include <utility>
#include <variant>
#include <vector>

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

TEST_CASE("options: a missing value and a question that is a file are told as what they are") {
  CHECK(refusal({"run", "g.yaml", "--set"}) == "reelfolio run: --set needs a value: STAGE.KEY=VALUE");
  CHECK(refusal({"ask", "a.png", "/dev/null"}) ==
        "reelfolio ask: the last argument is the question, and '/dev/null' is a file");
}
