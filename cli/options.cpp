#include "cli/options.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <string_view>
#include <system_error>
#include <utility>

#include "cli/cpu_count.h"
#include "engine/kernels/force_kernels.h"
#include "pipeline/error.h"
#include "pipeline/names.h"
#include "pipeline/param_values.h"
#include "stages/nearest_name.h"
#include "stages/system_message.h"

namespace reelfolio::cli {

namespace {

using pipeline::ConfigError;

constexpr int kMaxThreads = 1024;
constexpr int kMaxDecoders = 256;
const std::vector<std::string> kPackedWeights = {"bf16", "int8", "int4", "int2"};
const std::vector<std::string> kPinnings = {"auto", "on", "off"};
const std::vector<std::string> kKvTypes = {"auto", "f32", "bf16", "int8"};
const std::vector<std::string> kPackedTables = {"keep", "int8"};
const std::vector<std::string> kWeights = {"bf16", "f32", "int8", "int4", "int2"};
const std::vector<std::string> kKernels = {"auto", "avx512", "avx2", "ref"};
const std::vector<std::string> kProgressModes = {"auto", "plain", "json", "none"};
const std::vector<std::string> kLogLevels = {"error", "warning", "info", "debug"};

constexpr const char* kFilesAndQuestion = "FILE... QUESTION";
/// CLI11 2.4 takes no spaces in a name.
constexpr const char* kFilesAndQuestionName = "FILE..QUESTION";

constexpr const char* kTopExamples = R"(
Examples:
  reelfolio run configs/caption-videos.yaml films/ -o captions.jsonl --model gemma-4-E4B-it
  reelfolio check configs/caption-videos.yaml
  reelfolio ask photo.jpg "What is on the table?" --model gemma-4-E4B-it

`reelfolio COMMAND --help` says more about a command.
Variables: REELFOLIO_MODEL, _WEIGHTS, _OUTPUT, _THREADS, _DECODERS, _KERNELS, _PROGRESS, _LOG_LEVEL
and _PASSWORD_FILE stand for the flags of these names; flags win over them, and they win over the graph.)";

constexpr const char* kRunExamples = R"(
Examples:
  reelfolio run graph.yaml
  reelfolio run graph.yaml films/ more/trip.mp4 -o out.jsonl
  find films -name '*.mp4' -print0 | reelfolio run graph.yaml - -o - | jq .caption
  reelfolio run graph.yaml --set caption.max_tokens=32 --dry-run

While a run goes on its lines stand in PATH.partial; PATH appears when it is complete. PATH.ledger
remembers what was done: the same command again does what is new or has changed, also after a kill or a power
cut. PATH.media keeps pictures and sounds for changed questions (limits.media_cache), and may be deleted at any
time. PATH.run.json tells how long the run took, and with what. An output to stdout is not remembered.

Exit codes: 0 done, 2 bad flag or graph, 3 some inputs failed (each has an error record), 4 the model
cannot be loaded, 5 the output cannot be written (quietly where the reader of a pipe has gone), 11 another
run writes this output; 129, 130 and 143 interrupted by SIGHUP, SIGINT (Ctrl-C) and SIGTERM.)";

constexpr const char* kMergeExamples = R"(
Examples:
  reelfolio run graph.yaml films/ --shard 1/2 -o part1.jsonl    # on one machine
  reelfolio run graph.yaml films/ --shard 2/2 -o part2.jsonl    # on another
  reelfolio merge part1.jsonl part2.jsonl -o captions.jsonl

The run report beside each shard (part1.jsonl.run.json) knows where its inputs stand in the whole. Without
them shards are merged by the names of their inputs, where those are in order.)";

constexpr const char* kDiffExamples = R"(
Examples:
  reelfolio diff yesterday.jsonl today.jsonl
  reelfolio diff expected.jsonl out.jsonl > changes.txt || exit 1    # in CI

Exit codes: 0 no difference, 3 differences, 2 a file is no output of run.)";

constexpr const char* kCheckExamples = R"(
Examples:
  reelfolio check graph.yaml
  reelfolio check graph.yaml --dot | dot -Tsvg -o graph.svg)";

constexpr const char* kAskExamples = R"(
Examples:
  reelfolio ask photo.jpg "What is on the table?" --model gemma-4-E4B-it
  reelfolio ask before.png after.png "What has changed?"
  reelfolio ask contract.pdf "Who signs?" --soft-tokens 1120
  reelfolio ask message.ogg "Who calls, and what about?"
  reelfolio ask chart.png report.md "Does the chart show what the report says?")";

constexpr const char* kBenchExamples = R"(
Examples:
  reelfolio bench --synthetic e4b
  reelfolio bench --model gemma-4-E4B-it --weights bf16 --threads 8 --only decode,image_280
  reelfolio bench --synthetic e2b --json | jq .decode_16_tok_s

Fractions compare with what this machine reaches when it only streams memory, and when it only
multiplies large matrices; both are measured last. Memory is that of this process.)";

constexpr const char* kSchemaExamples = R"(
Examples:
  reelfolio schema invoice.json                     every refused keyword with its path
  jq -c .invoice.value out.jsonl | reelfolio schema invoice.json -
  reelfolio schema --keywords)";

constexpr const char* kTokenizeExamples = R"(
Examples:
  reelfolio model tokenize gemma-4-E4B-it "Hello, world"
  jq -c .text notes.jsonl | reelfolio model tokenize gemma-4-E4B-it -)";

long long parse_integer(const std::string& name, const std::string& text, long long min, long long max) {
  long long value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || value < min || value > max) {
    throw ConfigError(name + " is " + pipeline::in_quotes(text) + ", expected a whole number from " +
                      std::to_string(min) + " to " + std::to_string(max));
  }
  return value;
}

const std::string& check_choice(const std::string& name, const std::string& text,
                                const std::vector<std::string>& choices) {
  if (std::ranges::find(choices, text) == choices.end()) {
    throw ConfigError(name + " is " + pipeline::in_quotes(text) + ", expected " +
                      pipeline::joined(choices, " or "));
  }
  return text;
}

/// The flag if it was typed, else the variable if it is set; `name` is what messages call it.
struct Setting {
  std::string name;
  std::optional<std::string> text;
};

Setting flag_or_variable(const std::string& flag_name, const std::optional<std::string>& flag,
                         const std::string& variable, const Environment& environment) {
  if (flag) return {flag_name, flag};
  const std::string text = environment(variable);
  return {variable, text.empty() ? std::nullopt : std::optional(text)};
}

CLI::Option* add_text(CLI::App& app, const std::string& name, std::optional<std::string>& target,
                      const std::string& kind, const std::string& help) {
  return app.add_option(name, target, help)->type_name(kind)->take_last();
}

template <class Integer>
void add_integer(CLI::App& app, const std::string& name, std::optional<Integer>& target, long long min,
                 long long max, const std::string& help) {
  app.add_option_function<std::string>(
         name,
         [&target, name, min, max](const std::string& text) {
           target = static_cast<Integer>(parse_integer(name, text, min, max));
         },
         help)
      ->type_name("N")
      ->take_last();
}

void add_settings(CLI::App& app, std::vector<std::string>& settings) {
  app.add_option("--set", settings, "Override an entry of the graph; may be repeated")
      ->type_name("STAGE.KEY=VALUE")
      ->allow_extra_args(false);
}

void add_logging(CLI::App& app, std::optional<std::string>& level, bool& quiet) {
  add_text(app, "--log-level", level, "LEVEL", "error, warning, info (default) or debug");
  app.add_flag("-q,--quiet", quiet, "Errors only, no progress");
}

void add_model(CLI::App& app, std::optional<std::string>& model, std::optional<std::string>& weights,
               std::optional<std::string>& kv_cache) {
  add_text(app, "--model", model, "DIR", "Model directory (Hugging Face layout)");
  add_text(app, "--weights", weights, "TYPE",
           "f32, bf16 (default), int8, int4 or int2: how weights are kept and multiplied");
  add_text(app, "--kv-cache", kv_cache, "TYPE",
           "auto (default: bf16, or f32 with f32 weights), f32, bf16 or int8: how keys and values are kept");
}

void add_kernels(CLI::App& app, std::optional<std::string>& kernels) {
  add_text(app, "--kernels", kernels, "SET",
           "auto (default), avx512, avx2 or ref: instructions that the engine's own code uses");
}

void add_pin(CLI::App& app, std::optional<std::string>& pin) {
  add_text(app, "--pin", pin, "WHEN",
           "auto (default), on or off: keep each thread on a core of its own; auto does where there are "
           "several memory nodes");
}

void add_password_file(CLI::App& app, std::optional<std::string>& file) {
  add_text(app, "--password-file", file, "FILE", "File whose first line is the password of encrypted PDFs");
}

void add_isolation(CLI::App& app, bool& isolate) {
  app.add_flag_function(
      "--no-isolation", [&isolate](std::int64_t) { isolate = false; },
      "Decode in this process, for debugging: a file that crashes a decoder ends the program");
}

/// "prefill, decode, image, audio, prefill_512, decode_1, ...": groups, then single cases.
std::vector<std::string> bench_items() {
  std::vector<std::string> groups;
  std::vector<std::string> cases;
  for (const engine::BenchCase& each : engine::bench_cases()) {
    const std::string group(each.name.substr(0, each.name.find('_')));
    if (groups.empty() || groups.back() != group) groups.push_back(group);
    cases.emplace_back(each.name);
  }
  groups.emplace_back("mask");
  groups.insert(groups.end(), cases.begin(), cases.end());
  return groups;
}

std::string name_of(const CLI::App& app) {
  // "reelfolio model inspect"
  std::string name = app.get_name();
  for (const CLI::App* parent = app.get_parent(); parent != nullptr; parent = parent->get_parent()) {
    name = parent->get_name() + " " + name;
  }
  return name;
}

/// CLI11's text with kFilesAndQuestion in place of its name there. CLI11 puts three dots behind
/// each name that takes several words.
std::string readable(std::string text) {
  for (const char* dots : {" ...", "...", ""}) {
    const std::string written = std::string(kFilesAndQuestionName) + dots;
    for (std::size_t at = text.find(written); at != std::string::npos; at = text.find(written)) {
      text.replace(at, written.size(), kFilesAndQuestion);
    }
  }
  return text;
}

/// The help text of a command. CLI11 puts the command's own name behind what it is given.
std::string help_of(const CLI::App& app) {
  return readable(app.help(app.get_parent() == nullptr ? "" : name_of(*app.get_parent())));
}

/// The subcommand that the arguments lead to.
CLI::App* innermost(CLI::App& app) {
  CLI::App* current = &app;
  for (auto chosen = current->get_subcommands(); !chosen.empty(); chosen = current->get_subcommands()) {
    current = chosen.front();
  }
  return current;
}

[[noreturn]] void fail(const CLI::App& app, const std::string& message) {
  throw ConfigError(name_of(app) + ": " + message + "\n`" + name_of(app) + " --help` shows what there is");
}

/// Says what is wrong with a command line that CLI11 has refused.
[[noreturn]] void explain(CLI::App& root, const CLI::ParseError& error, int argc, const char* const* argv) {
  const CLI::App& app = *innermost(root);
  std::vector<std::string> flags;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
    for (const std::string& name : option->get_snames()) flags.push_back("-" + name);
  }
  std::vector<std::string> commands;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    commands.push_back(sub->get_name());
  }
  const bool is_extras = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr;
  const bool is_required = dynamic_cast<const CLI::RequiredError*>(&error) != nullptr;
  for (int i = 1; i < argc && (is_extras || is_required); ++i) {
    const std::string argument = argv[i];
    if (argument == "--") break;
    if (argument.size() < 2 || argument.front() != '-') continue;
    const std::string name = argument.substr(0, argument.find('='));
    if (std::ranges::find(flags, name) == flags.end() && name.starts_with("--")) {
      std::vector<std::string_view> long_names;
      for (const std::string& flag : flags) {
        if (flag.starts_with("--")) long_names.push_back(flag);
      }
      fail(app, "unknown option " + pipeline::in_quotes(name) + stages::did_you_mean(name, long_names));
    }
    if (is_extras && !name.starts_with("--") && std::ranges::find(flags, name.substr(0, 2)) == flags.end()) {
      fail(app, "unknown option " + pipeline::in_quotes(name));
    }
  }
  if (!commands.empty()) {
    for (int i = 1; i < argc; ++i) {
      const std::string argument = argv[i];
      if (argument.starts_with("-") || argument == app.get_name()) continue;
      fail(app,
           "unknown command " + pipeline::in_quotes(argument) + pipeline::suggestion(argument, commands));
    }
    fail(app, "a command is missing: " + pipeline::joined(commands, " or "));
  }
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    // "--set: 1 required STAGE.KEY=VALUE missing"
    const std::string what = error.what();
    const std::string name = what.substr(0, what.find(':'));
    const CLI::Option* option = app.get_option_no_throw(name);
    if (option != nullptr) fail(app, name + " needs a value: " + option->get_type_name());
  }
  fail(app, readable(error.what()));
}

}  // namespace

Environment process_environment() {
  return [](const std::string& name) -> std::string {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? "" : value;
  };
}

ShardFlag parse_shard(const std::string& text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string::npos) {
    throw ConfigError("--shard is " + pipeline::in_quotes(text) + ", expected I/N, such as 1/4");
  }
  ShardFlag shard;
  shard.of = static_cast<std::size_t>(
      parse_integer("N of --shard I/N", text.substr(slash + 1), 1, std::numeric_limits<int>::max()));
  shard.index = static_cast<std::size_t>(
      parse_integer("I of --shard I/N", text.substr(0, slash), 1, static_cast<long long>(shard.of)));
  return shard;
}

CommandLine parse_command_line(int argc, const char* const* argv) {
  CLI::App app("Captions, answers and data from videos, PDFs and images, with Gemma 4 on the CPU",
               "reelfolio");
  app.footer(kTopExamples);
  bool show_version = false;
  app.add_flag("--version", show_version, "Print the version and exit");
  app.require_subcommand(0, 1);

  RunFlags run;
  CLI::App* run_app = app.add_subcommand("run", "Run a stage graph over inputs and write JSONL");
  run_app->footer(kRunExamples);
  run_app->add_option("GRAPH", run.graph, "Stage graph (YAML)")->required()->type_name("");
  run_app
      ->add_option("INPUT", run.inputs,
                   "Files, folders (walked), or - for paths on stdin; replace the graph's")
      ->type_name("");
  add_text(*run_app, "-o,--output", run.output, "PATH", "Where the JSONL goes; - is stdout");
  add_model(*run_app, run.model, run.weights, run.kv_cache);
  add_settings(*run_app, run.settings);
  add_integer(*run_app, "--threads", run.threads, 1, kMaxThreads,
              "Threads of the engine (default: usable cores)");
  add_pin(*run_app, run.pin);
  add_integer(*run_app, "--decoders", run.decoders, 1, kMaxDecoders,
              "Threads that open videos, PDFs and images (default: the graph's)");
  add_integer(*run_app, "--limit", run.limit, 0, std::numeric_limits<int>::max(), "Only the first N inputs");
  add_text(*run_app, "--shard", run.shard, "I/N",
           "Only the I-th of N shares of the inputs, told by a hash of their paths; see merge");
  run_app->add_flag("--fresh", run.fresh, "Forget what earlier runs have done, and start over");
  run_app->add_flag("--retry-failed", run.retry_failed, "Do inputs that failed, in part or whole, again");
  run_app->add_flag("--dry-run", run.dry_run,
                    "Print the resolved graph and what would be done with each input; write nothing");
  run_app->add_flag("--explain", run.explain, "Say of each input why it was done, skipped or failed");
  add_text(*run_app, "--progress", run.progress, "MODE", "auto (default), plain, json or none");
  add_kernels(*run_app, run.kernels);
  add_logging(*run_app, run.log_level, run.quiet);
  add_password_file(*run_app, run.password_file);
  add_isolation(*run_app, run.isolate);

  CheckFlags check;
  CLI::App* check_app =
      app.add_subcommand("check", "Validate a graph and print it with every default filled in");
  check_app->footer(kCheckExamples);
  check_app->add_option("GRAPH", check.graph, "Stage graph (YAML)")->required()->type_name("");
  check_app->add_flag("--dot", check.dot, "Print the graph for Graphviz instead");
  add_settings(*check_app, check.settings);
  add_password_file(*check_app, check.password_file);

  AskFlags ask;
  std::vector<std::string> files_and_question;
  std::optional<int> max_tokens;
  CLI::App* ask_app =
      app.add_subcommand("ask", "Answer one question about images, PDF pages, a video, a sound or a text");
  ask_app->footer(kAskExamples);
  ask_app->add_option(kFilesAndQuestionName, files_and_question, "Files in prompt order, then the question")
      ->required()
      ->type_name("");
  add_model(*ask_app, ask.model, ask.weights, ask.kv_cache);
  add_integer(*ask_app, "--threads", ask.threads, 1, kMaxThreads,
              "Threads of the engine (default: usable cores)");
  add_pin(*ask_app, ask.pin);
  add_integer(*ask_app, "--soft-tokens", ask.soft_tokens, 70, 1120,
              "Soft tokens a picture: 70, 140, 280, 560 or 1120 (default: by kind of file)");
  add_integer(*ask_app, "--max-tokens", max_tokens, 1, 131072, "Longest answer, in tokens (default 256)");
  ask_app->add_flag("--thinking", ask.thinking, "Let the model think first; its thoughts go to stderr");
  add_kernels(*ask_app, ask.kernels);
  add_logging(*ask_app, ask.log_level, ask.quiet);
  add_password_file(*ask_app, ask.password_file);
  add_isolation(*ask_app, ask.isolate);

  BenchFlags bench;
  CLI::App* bench_app =
      app.add_subcommand("bench", "Measure prefill, decode and image speed, and memory, on this machine");
  bench_app->footer(kBenchExamples);
  add_model(*bench_app, bench.model, bench.weights, bench.kv_cache);
  add_text(*bench_app, "--synthetic", bench.synthetic, "SHAPE",
           "e4b or e2b: invented weights of that shape instead of a model");
  add_integer(*bench_app, "--threads", bench.threads, 1, kMaxThreads,
              "Threads of the engine (default: usable cores)");
  add_pin(*bench_app, bench.pin);
  add_integer(*bench_app, "--repeats", bench.repeats, 1, 1000,
              "Runs of each measurement, of which the median counts (default 3)");
  add_integer(*bench_app, "--context", bench.context, 0, 1 << 20,
              "Positions that are there already when decoding is measured (default 512)");
  bench_app
      ->add_option("--only", bench.only,
                   "Only these, joined by commas: " + pipeline::joined(bench_items(), ", "))
      ->type_name("LIST")
      ->delimiter(',')
      ->allow_extra_args(false);
  bench_app->add_flag("--json", bench.json, "Print one JSON object instead of a table");
  add_kernels(*bench_app, bench.kernels);
  add_logging(*bench_app, bench.log_level, bench.quiet);

  SchemaFlags schema;
  CLI::App* schema_app =
      app.add_subcommand("schema", "Is a JSON Schema supported, and which values does it admit");
  schema_app->footer(kSchemaExamples);
  schema_app->add_option("SCHEMA", schema.schema, "JSON Schema file")->type_name("");
  schema_app->add_option("VALUE", schema.values, "JSON files, or - for values on stdin, one a line")
      ->type_name("");
  schema_app->add_flag("--closed", schema.closed,
                       "Objects that list properties take no others unless the schema says so");
  schema_app->add_flag("--keywords", schema.keywords, "List the keywords, and why some are refused");
  MergeFlags merge;
  CLI::App* merge_app =
      app.add_subcommand("merge", "Join the outputs of --shard runs into the bytes of one run");
  merge_app->footer(kMergeExamples);
  merge_app->add_option("SHARD", merge.shards, "Outputs of all shards of one run, in any order")
      ->required()
      ->type_name("");
  merge_app->add_option("-o,--output", merge.output, "Where the JSONL goes; - is stdout")
      ->required()
      ->type_name("PATH");
  DiffFlags diff;
  CLI::App* diff_app = app.add_subcommand("diff", "Say what differs between two outputs, by input and field");
  diff_app->footer(kDiffExamples);
  diff_app->add_option("A", diff.before, "Output of a run")->required()->type_name("");
  diff_app->add_option("B", diff.after, "Output of another run")->required()->type_name("");

  CLI::App* model_app = app.add_subcommand("model", "Look at a model directory, or pack it");
  model_app->require_subcommand(1);
  InspectFlags inspect;
  CLI::App* inspect_app = model_app->add_subcommand(
      "inspect", "Architecture, sizes, tensor types, fingerprint, and what is missing");
  inspect_app->add_option("DIR", inspect.model, "Model directory")->required()->type_name("");
  PackFlags pack;
  CLI::App* pack_app =
      model_app->add_subcommand("pack", "Convert a model directory once, into one that loads in seconds");
  pack_app->add_option("SRC", pack.source, "Model directory as released")->required()->type_name("");
  pack_app->add_option("-o,--output", pack.output, "Directory to make; must not exist or be empty")
      ->required()
      ->type_name("DST");
  pack_app->add_option("--weights", pack.weights, "bf16, int8, int4 or int2")->required()->type_name("TYPE");
  pack_app
      ->add_option("--per-layer-table", pack.per_layer_table,
                   "Table of per-layer embeddings: keep it as it is, or int8 for half the disk")
      ->type_name("TYPE");
  pack_app->add_flag("-q,--quiet", pack.quiet, "Errors only");
  TokenizeFlags tokenize;
  CLI::App* tokenize_app = model_app->add_subcommand("tokenize", "Token ids and pieces of texts");
  tokenize_app->footer(kTokenizeExamples);
  tokenize_app->add_option("DIR", tokenize.model, "Directory with tokenizer.json")->required()->type_name("");
  tokenize_app->add_option("TEXT", tokenize.texts, "Texts, or - for JSON strings on stdin, one a line")
      ->required()
      ->type_name("");

  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return HelpText{help_of(*innermost(app))};
  } catch (const CLI::ParseError& error) {
    explain(app, error, argc, argv);
  }
  if (show_version) return HelpText{"reelfolio " REELFOLIO_VERSION "\n"};
  if (run_app->parsed()) {
    if (run.shard) parse_shard(*run.shard);
    return run;
  }
  if (merge_app->parsed()) return merge;
  if (diff_app->parsed()) return diff;
  if (check_app->parsed()) return check;
  if (inspect_app->parsed()) return inspect;
  if (pack_app->parsed()) {
    check_choice("--weights", pack.weights, kPackedWeights);
    check_choice("--per-layer-table", pack.per_layer_table, kPackedTables);
    return pack;
  }
  if (tokenize_app->parsed()) return tokenize;
  if (bench_app->parsed()) return bench;
  if (schema_app->parsed()) {
    if (!schema.keywords && schema.schema.empty()) fail(*schema_app, "SCHEMA is required");
    return schema;
  }
  if (ask_app->parsed()) {
    if (files_and_question.size() < 2) fail(*ask_app, "expected at least one file and, last, the question");
    std::error_code ignored;
    if (std::filesystem::exists(files_and_question.back(), ignored)) {
      fail(*ask_app, "the last argument is the question, and " +
                         pipeline::in_quotes(files_and_question.back()) + " is a file");
    }
    ask.question = std::move(files_and_question.back());
    files_and_question.pop_back();
    ask.files = std::move(files_and_question);
    ask.max_tokens = max_tokens.value_or(ask.max_tokens);
    constexpr std::array kBudgets = {70, 140, 280, 560, 1120};
    if (ask.soft_tokens && std::ranges::find(kBudgets, *ask.soft_tokens) == kBudgets.end()) {
      fail(*ask_app,
           "--soft-tokens is " + std::to_string(*ask.soft_tokens) + ", expected 70, 140, 280, 560 or 1120");
    }
    return ask;
  }
  return HelpText{help_of(app)};
}

namespace {

int resolve_threads(const std::optional<int>& flag, const Environment& environment) {
  if (flag) return *flag;
  const std::string variable = environment("REELFOLIO_THREADS");
  if (variable.empty()) return usable_cpus();
  return static_cast<int>(parse_integer("REELFOLIO_THREADS", variable, 1, kMaxThreads));
}

std::string resolve_kernels(const std::optional<std::string>& flag, const Environment& environment) {
  const Setting setting = flag_or_variable("--kernels", flag, "REELFOLIO_KERNELS", environment);
  return setting.text ? check_choice(setting.name, *setting.text, kKernels) : kKernels.front();
}

engine::Pinning resolve_pin(const std::optional<std::string>& flag, const Environment& environment) {
  const Setting setting = flag_or_variable("--pin", flag, "REELFOLIO_PIN", environment);
  if (!setting.text) return engine::Pinning::automatic;
  return engine::find_pinning(check_choice(setting.name, *setting.text, kPinnings)).value();
}

LogLevel resolve_log_level(const std::optional<std::string>& flag, bool quiet,
                           const Environment& environment) {
  const Setting setting = flag_or_variable("--log-level", flag, "REELFOLIO_LOG_LEVEL", environment);
  // Checked even where -q decides: a wrong value is a mistake all the same.
  if (setting.text) check_choice(setting.name, *setting.text, kLogLevels);
  if (quiet) return LogLevel::error;
  if (!setting.text) return LogLevel::info;
  return static_cast<LogLevel>(std::ranges::find(kLogLevels, *setting.text) - kLogLevels.begin());
}

}  // namespace

std::filesystem::path resolve_password_file(const std::optional<std::string>& flag,
                                            const Environment& environment) {
  const Setting setting = flag_or_variable("--password-file", flag, "REELFOLIO_PASSWORD_FILE", environment);
  if (!setting.text) return {};
  // Not opened: it may be a pipe, which is read once.
  const auto refuse = [&](const std::string& why) {
    throw ConfigError(setting.name + " is " + pipeline::in_quotes(*setting.text) + ", which " + why);
  };
  std::error_code ignored;
  if (std::filesystem::is_directory(*setting.text, ignored)) refuse("is a folder");
  if (access(setting.text->c_str(), R_OK) != 0) refuse("cannot be read: " + stages::system_message(errno));
  return *setting.text;
}

namespace {

/// What every command that computes resolves alike.
template <class Flags>
ProcessSettings engine_settings(const Flags& flags, const Environment& environment) {
  ProcessSettings settings;
  settings.threads = resolve_threads(flags.threads, environment);
  settings.pinning = resolve_pin(flags.pin, environment);
  settings.kernels = resolve_kernels(flags.kernels, environment);
  settings.log_level = resolve_log_level(flags.log_level, flags.quiet, environment);
  settings.progress = ProgressMode::none;
  return settings;
}

}  // namespace

ProcessSettings resolve(const RunFlags& flags, const Environment& environment) {
  ProcessSettings settings = engine_settings(flags, environment);
  settings.password_file = resolve_password_file(flags.password_file, environment);
  const Setting progress = flag_or_variable("--progress", flags.progress, "REELFOLIO_PROGRESS", environment);
  if (progress.text) {
    check_choice(progress.name, *progress.text, kProgressModes);
    settings.progress =
        static_cast<ProgressMode>(std::ranges::find(kProgressModes, *progress.text) - kProgressModes.begin());
  } else if (!flags.quiet) {
    settings.progress = ProgressMode::automatic;
  }
  return settings;
}

ProcessSettings resolve(const AskFlags& flags, const Environment& environment) {
  ProcessSettings settings = engine_settings(flags, environment);
  settings.password_file = resolve_password_file(flags.password_file, environment);
  return settings;
}

ProcessSettings resolve(const BenchFlags& flags, const Environment& environment) {
  return engine_settings(flags, environment);
}

void use_kernels(const ProcessSettings& settings) {
  if (engine::kernels::force_kernels(settings.kernels)) return;
  throw ConfigError("kernels " + pipeline::in_quotes(settings.kernels) +
                    " need instructions that this processor lacks; auto takes the best that it has");
}

void apply_flags(pipeline::GraphSpec& spec, const RunFlags& flags, const Environment& environment) {
  const std::optional<std::string> decoders =
      flags.decoders ? std::optional(std::to_string(*flags.decoders)) : std::nullopt;
  const struct {
    std::string target;
    const char* flag_name;
    const std::optional<std::string>& flag;
    const char* variable;
  } places[] = {
      {"model.path", "--model", flags.model, "REELFOLIO_MODEL"},
      {"model.weights", "--weights", flags.weights, "REELFOLIO_WEIGHTS"},
      {"model.kv_cache", "--kv-cache", flags.kv_cache, "REELFOLIO_KV_CACHE"},
      {"output.path", "--output", flags.output, "REELFOLIO_OUTPUT"},
      {"limits.decoders", "--decoders", decoders, "REELFOLIO_DECODERS"},
  };
  const auto apply = [&](const std::string& target, const std::string& name, const std::string& value) {
    if (target == "model.weights") check_choice(name, value, kWeights);
    if (target == "model.kv_cache") check_choice(name, value, kKvTypes);
    const bool is_number = target == "limits.decoders";
    if (is_number) parse_integer(name, value, 1, kMaxDecoders);
    pipeline::apply_setting(spec, target + "=" + (is_number ? value : pipeline::yaml_text(value)));
  };
  for (const auto& place : places) {
    const std::string variable = environment(place.variable);
    if (!variable.empty()) apply(place.target, place.variable, variable);
  }
  for (const std::string& setting : flags.settings) pipeline::apply_setting(spec, setting);
  for (const auto& place : places) {
    if (place.flag) apply(place.target, place.flag_name, *place.flag);
  }
}

namespace {

engine::ops::WeightType resolve_weights(const std::optional<std::string>& flag,
                                        const Environment& environment) {
  const Setting weights = flag_or_variable("--weights", flag, "REELFOLIO_WEIGHTS", environment);
  if (!weights.text) return engine::ops::WeightType::bf16;
  return engine::ops::find_weight_type(check_choice(weights.name, *weights.text, kWeights)).value();
}

std::optional<engine::text::KvType> resolve_kv_cache(const std::optional<std::string>& flag,
                                                     const Environment& environment) {
  const Setting type = flag_or_variable("--kv-cache", flag, "REELFOLIO_KV_CACHE", environment);
  if (!type.text) return std::nullopt;
  return engine::text::find_kv_type(check_choice(type.name, *type.text, kKvTypes));
}

}  // namespace

AskModel resolve_model(const AskFlags& flags, const Environment& environment) {
  const Setting model = flag_or_variable("--model", flags.model, "REELFOLIO_MODEL", environment);
  if (!model.text) throw ConfigError("no model is named: give --model DIR or set REELFOLIO_MODEL");
  return {*model.text, resolve_weights(flags.weights, environment),
          resolve_kv_cache(flags.kv_cache, environment)};
}

engine::BenchOptions resolve_bench(const BenchFlags& flags, const Environment& environment) {
  engine::BenchOptions options;
  if (flags.model && flags.synthetic) {
    throw ConfigError("--model and --synthetic are both given, expected one of them");
  }
  if (flags.synthetic) {
    check_choice("--synthetic", *flags.synthetic, {"e4b", "e2b"});
    options.model = engine::find_synthetic_shape(*flags.synthetic).value();
  } else {
    const Setting model = flag_or_variable("--model", flags.model, "REELFOLIO_MODEL", environment);
    if (!model.text) {
      throw ConfigError("no model is named: give --model DIR or --synthetic e4b, or set REELFOLIO_MODEL");
    }
    options.model = std::filesystem::path(*model.text);
  }
  options.weights = resolve_weights(flags.weights, environment);
  options.kv_cache = resolve_kv_cache(flags.kv_cache, environment);
  options.threads = resolve_threads(flags.threads, environment);
  options.pinning = resolve_pin(flags.pin, environment);
  options.repeats = flags.repeats.value_or(options.repeats);
  if (flags.context) options.context = static_cast<std::size_t>(*flags.context);
  for (const std::string& item : flags.only) {
    if (!engine::is_bench_item(item)) {
      throw ConfigError("--only names " + pipeline::in_quotes(item) + ", expected " +
                        pipeline::joined(bench_items(), " or ") + pipeline::suggestion(item, bench_items()));
    }
  }
  options.only = flags.only;
  return options;
}

}  // namespace reelfolio::cli
