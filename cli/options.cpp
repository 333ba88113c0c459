#include "cli/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <limits>
#include <system_error>
#include <utility>

#include "cli/help_footers.h"
#include "cli/option_values.h"
#include "cli/usage.h"
#include "pipeline/names.h"

namespace reelfolio::cli {

namespace {

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
           "auto (default: bf16, f32 with f32 weights, int8 with int2), f32, bf16 or int8: how keys and "
           "values are kept");
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

}  // namespace

CommandLine parse_command_line(int argc, const char* const* argv) {
  CLI::App app("Captions, answers and data from videos, PDFs and images, with Gemma 4 on the CPU",
               "reelfolio");
  app.footer(kTopFooter);
  bool show_version = false;
  app.add_flag("--version", show_version, "Print the version and exit");
  app.require_subcommand(0, 1);

  RunFlags run;
  CLI::App* run_app = app.add_subcommand("run", "Run a stage graph over inputs and write JSONL");
  run_app->footer(kRunFooter);
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
  check_app->footer(kCheckFooter);
  check_app->add_option("GRAPH", check.graph, "Stage graph (YAML)")->required()->type_name("");
  check_app->add_flag("--dot", check.dot, "Print the graph for Graphviz instead");
  add_settings(*check_app, check.settings);
  add_password_file(*check_app, check.password_file);

  AskFlags ask;
  std::vector<std::string> files_and_question;
  std::optional<int> max_tokens;
  CLI::App* ask_app =
      app.add_subcommand("ask", "Answer one question about images, PDF pages, a video, a sound or a text");
  ask_app->footer(kAskFooter);
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
  bench_app->footer(kBenchFooter);
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
  schema_app->footer(kSchemaFooter);
  schema_app->add_option("SCHEMA", schema.schema, "JSON Schema file")->type_name("");
  schema_app->add_option("VALUE", schema.values, "JSON files, or - for values on stdin, one a line")
      ->type_name("");
  schema_app->add_flag("--closed", schema.closed,
                       "Objects that list properties take no others unless the schema says so");
  schema_app->add_flag("--keywords", schema.keywords, "List the keywords, and why some are refused");
  MergeFlags merge;
  CLI::App* merge_app =
      app.add_subcommand("merge", "Join the outputs of --shard runs into the bytes of one run");
  merge_app->footer(kMergeFooter);
  merge_app->add_option("SHARD", merge.shards, "Outputs of all shards of one run, in any order")
      ->required()
      ->type_name("");
  merge_app->add_option("-o,--output", merge.output, "Where the JSONL goes; - is stdout")
      ->required()
      ->type_name("PATH");
  DiffFlags diff;
  CLI::App* diff_app = app.add_subcommand("diff", "Say what differs between two outputs, by input and field");
  diff_app->footer(kDiffFooter);
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
  tokenize_app->footer(kTokenizeFooter);
  tokenize_app->add_option("DIR", tokenize.model, "Directory with tokenizer.json")->required()->type_name("");
  tokenize_app->add_option("TEXT", tokenize.texts, "Texts, or - for JSON strings on stdin, one a line")
      ->required()
      ->type_name("");

  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return HelpText{help_of(innermost(app))};
  } catch (const CLI::ParseError& error) {
    refuse_command_line(app, error, argc, argv);
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
    if (!schema.keywords && schema.schema.empty()) refuse_usage(*schema_app, "SCHEMA is required");
    return schema;
  }
  if (ask_app->parsed()) {
    if (files_and_question.size() < 2)
      refuse_usage(*ask_app, "expected at least one file and, last, the question");
    std::error_code ignored;
    if (std::filesystem::exists(files_and_question.back(), ignored)) {
      refuse_usage(*ask_app, "the last argument is the question, and " +
                                 pipeline::in_quotes(files_and_question.back()) + " is a file");
    }
    ask.question = std::move(files_and_question.back());
    files_and_question.pop_back();
    ask.files = std::move(files_and_question);
    ask.max_tokens = max_tokens.value_or(ask.max_tokens);
    constexpr std::array kBudgets = {70, 140, 280, 560, 1120};
    if (ask.soft_tokens && std::ranges::find(kBudgets, *ask.soft_tokens) == kBudgets.end()) {
      refuse_usage(*ask_app, "--soft-tokens is " + std::to_string(*ask.soft_tokens) +
                                 ", expected 70, 140, 280, 560 or 1120");
    }
    return ask;
  }
  return HelpText{help_of(app)};
}

}  // namespace reelfolio::cli
