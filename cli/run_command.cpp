#include <unistd.h>

#include <sys/stat.h>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <iostream>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "cli/commands.h"
#include "cli/console.h"
#include "cli/interrupts.h"
#include "cli/load_engine.h"
#include "cli/option_values.h"
#include "cli/output_lock.h"
#include "cli/settings.h"
#include "cli/start_decoders.h"
#include "cli/unit_naming.h"
#include "pipeline/display_text.h"
#include "pipeline/error.h"
#include "pipeline/explain.h"
#include "pipeline/graph.h"
#include "pipeline/graph_parser.h"
#include "pipeline/input_list.h"
#include "pipeline/ledger.h"
#include "pipeline/media_cache.h"
#include "pipeline/names.h"
#include "pipeline/progress_display.h"
#include "pipeline/run_report.h"
#include "pipeline/scheduler.h"
#include "stages/write_jsonl.h"
#include "stages/write_subtitles.h"

namespace reelfolio::cli {

namespace {

/// Adds the reasons of --explain to what another display shows.
class ExplainingProgress final : public pipeline::Progress {
 public:
  ExplainingProgress(const pipeline::Graph& graph, pipeline::Progress& display, std::ostream& out)
      : graph_(graph), display_(display), out_(out) {}

  void run_started(std::span<const std::uint64_t> sizes) override { display_.run_started(sizes); }
  void input_started(std::size_t input, const std::string& name) override {
    display_.input_started(input, name);
  }
  void input_found(std::size_t input, const std::string& reason) override {
    reasons_[input] = reason;
    display_.input_found(input, reason);
  }
  void input_advanced(std::size_t input, double part) override { display_.input_advanced(input, part); }
  void unit_found(std::size_t input) override { display_.unit_found(input); }
  void unit_done(std::size_t input, const engine::EngineStats& stats) override {
    display_.unit_done(input, stats);
  }
  void tick(const engine::EngineStats& stats) override { display_.tick(stats); }
  void input_done(std::size_t input, const stages::InputResult& result) override {
    display_.input_done(input, result);
    std::string reason;
    if (const auto found = reasons_.extract(input)) reason = " (" + found.mapped() + ")";
    for (const std::string& line : pipeline::explain_result(graph_, result)) {
      out_ << line << std::exchange(reason, "") << '\n';
    }
    out_.flush();
  }
  void run_finished() override { display_.run_finished(); }

 private:
  const pipeline::Graph& graph_;
  pipeline::Progress& display_;
  std::ostream& out_;
  std::map<std::size_t, std::string> reasons_;  ///< of inputs begun and not done
};

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

/// The inputs of a run and where they stand in the list of all shards.
struct InputList {
  std::vector<pipeline::ListedInput> inputs;
  std::vector<std::size_t> positions;
};

InputList list_inputs(const pipeline::Graph& graph, const RunFlags& flags,
                      const std::filesystem::path& output) {
  std::vector<std::filesystem::path> arguments(flags.inputs.begin(), flags.inputs.end());
  if (arguments.empty()) arguments = graph.inputs.paths;
  if (arguments.empty()) {
    throw pipeline::ConfigError(
        graph.file.string() +
        " names no inputs; give files or folders on the command line, or inputs: {paths: ...}");
  }
  pipeline::ListOptions options;
  options.include = graph.inputs.include;
  options.exclude = graph.inputs.exclude;
  if (output != "-") options.output = output;
  if (!flags.shard) options.limit = flags.limit;
  InputList list;
  std::vector<pipeline::ListedInput> all = pipeline::list_inputs(arguments, options, std::cin);
  const ShardFlag shard = flags.shard ? parse_shard(*flags.shard) : ShardFlag{};
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (flags.shard && pipeline::shard_of(all[i].name, shard.of) != shard.index - 1) continue;
    if (flags.limit && list.inputs.size() == *flags.limit) break;
    list.inputs.push_back(std::move(all[i]));
    list.positions.push_back(i);
  }
  return list;
}

/// Refuses an output that would take the place of what the run reads.
void check_output(const std::filesystem::path& output, const pipeline::Graph& graph,
                  const std::vector<pipeline::ListedInput>& inputs, const ProcessSettings& settings) {
  const auto refuse_if = [&](const std::filesystem::path& other, const std::string& what) {
    std::error_code ignored;
    if (!std::filesystem::equivalent(output, other, ignored)) return;
    throw pipeline::ConfigError("output " + pipeline::in_quotes(output.string()) + " is " + what +
                                "; name another file");
  };
  std::error_code ignored;
  if (output == "-" || !std::filesystem::is_regular_file(output, ignored)) return;
  refuse_if(graph.file, "the graph");
  refuse_if(settings.password_file, "the password file");
  for (const pipeline::ListedInput& input : inputs) refuse_if(input.path, "an input");
}

/// The resolved graph, and under it, as comments, what would happen to each input.
ExitCode print_plan(const pipeline::Graph& graph, const std::vector<pipeline::ListedInput>& inputs,
                    const pipeline::RunOptions& options) {
  print(pipeline::graph_to_yaml(graph));
  print("\n# " + std::to_string(inputs.size()) + (inputs.size() == 1 ? " input" : " inputs") + "\n");
  for (const pipeline::ListedInput& input : inputs)
    print("# " + pipeline::plan_input(graph, input, options) + "\n");
  return ExitCode::ok;
}

/// Where the subtitles go; checked before anything is opened.
std::filesystem::path subtitles_folder(const pipeline::Graph& graph, const std::filesystem::path& output) {
  if (!graph.subtitles_folder.empty()) return graph.subtitles_folder;
  if (output == "-") {
    throw pipeline::ConfigError(
        "the lines go to stdout, so subtitles need a folder of their own; add output: {subtitles_folder: "
        "...}");
  }
  std::filesystem::path folder = output;
  folder += ".subtitles";
  return folder;
}

std::unique_ptr<stages::Sink> make_sink(const pipeline::Graph& graph, const std::filesystem::path& output) {
  auto lines = stages::make_jsonl_sink(output, kinds_cut_twice(graph));
  if (graph.subtitles.empty()) return lines;
  return stages::make_subtitle_sink({graph.subtitles, subtitles_folder(graph, output), graph.transcripts()},
                                    std::move(lines));
}

bool is_regular_output(const std::filesystem::path& output) {
  struct stat status {};
  return output != "-" && (stat(output.c_str(), &status) != 0 || S_ISREG(status.st_mode));
}

stages::Json option_list(const std::vector<std::string>& values) {
  stages::Json list = stages::Json::array();
  for (const std::string& value : values) list.push_back(pipeline::printable(value));
  return list;
}

void write_report(const std::filesystem::path& output, const pipeline::Graph& graph, const RunFlags& flags,
                  const ProcessSettings& settings, const std::vector<std::size_t>& positions,
                  pipeline::RunReport report, const engine::Engine* engine) {
  report.version = REELFOLIO_VERSION;
  report.graph_fingerprint = pipeline::graph_fingerprint(graph);
  if (engine != nullptr) {
    report.model_fingerprint = engine->fingerprint();
    report.engine = engine->stats();
  }
  report.machine = pipeline::this_machine();
  report.peak_memory = pipeline::peak_memory_bytes();
  report.options = {
      {"graph", pipeline::printable(graph.file.string())},
      {"model", pipeline::printable(graph.model.path.string())},
      // A packed model has its own, whatever the graph says.
      {"weights", std::string(engine::ops::weight_type_name(engine == nullptr ? graph.model.weights
                                                                              : engine->weights()))},
      {"kv_cache", engine == nullptr ? "" : std::string(engine::text::kv_type_name(engine->kv_cache()))},
      {"inputs", option_list(flags.inputs)},
      {"set", option_list(flags.settings)},
      {"threads", settings.threads},
      {"decoders", graph.limits.decoders}};
  if (flags.limit) report.options.emplace_back("limit", *flags.limit);
  if (flags.shard) {
    const ShardFlag shard = parse_shard(*flags.shard);
    report.shard = {{"index", shard.index}, {"of", shard.of}, {"positions", positions}};
  }
  report.output =
      pipeline::printable((report.summary.interrupted ? stages::partial_path(output) : output).string());
  pipeline::write_run_report(pipeline::run_report_path(output), report);
}

/// The memory of a regular output; null for stdout, pipes and devices, which have none.
std::unique_ptr<pipeline::Ledger> open_ledger(const std::filesystem::path& output,
                                              const pipeline::Graph& graph, const RunFlags& flags,
                                              const ProcessSettings& settings, const engine::Engine* engine,
                                              const Console& console) {
  if (!is_regular_output(output)) {
    if (flags.retry_failed)
      console.warning("nothing is remembered of this output: --retry-failed does nothing");
    return nullptr;
  }
  pipeline::LedgerOptions options;
  options.fresh = flags.fresh;
  options.retry_failed = flags.retry_failed;
  options.has_password = !settings.password_file.empty();
  options.read_only = flags.dry_run;
  options.media = pipeline::media_cache_path(output);
  std::string model;
  if (engine != nullptr) {
    model = engine->fingerprint() + " " + std::string(engine::ops::weight_type_name(engine->weights()));
    // int8 is named even where it is the default: ledgers from when it was none for int2 do not name bf16.
    if (const engine::text::KvType kv = engine->kv_cache();
        kv == engine::text::KvType::int8 || kv != engine::text::default_kv_type(engine->weights())) {
      model += " " + std::string(engine::text::kv_type_name(kv));
    }
  }
  auto [ledger, warning] = pipeline::Ledger::open(pipeline::ledger_path(output), graph, model, options);
  if (!warning.empty()) console.warning(warning);
  return std::move(ledger);
}

engine::EngineOptions engine_options(const pipeline::Graph& graph, const ProcessSettings& settings) {
  return {.weights = graph.model.weights,
          .threads = settings.threads,
          .kv_cache = graph.model.kv_cache,
          .pinning = settings.pinning};
}

/// Asks the memory of the output too, without writing anything.
ExitCode dry_run(const pipeline::Graph& graph, const std::vector<pipeline::ListedInput>& inputs,
                 const stages::DecodePlan& plan, const std::filesystem::path& output, const RunFlags& flags,
                 const ProcessSettings& settings, const Console& console) {
  const auto decoders =
      start_decoders(plan, graph.limits.input, settings.password_file, flags.isolate, console);
  std::error_code none;
  bool asks = is_regular_output(output) && std::filesystem::exists(pipeline::ledger_path(output), none);
  if (asks && is_output_locked(output)) {
    console.warning("another run is at work on " + output.string() + ": the plan leaves out what is done");
    asks = false;
  }
  std::unique_ptr<engine::Engine> engine;
  // For its fingerprint. Plans are made before models are there, too.
  if (asks && graph.needs_model() && std::filesystem::exists(graph.model.path, none)) {
    engine = load_engine_when_asked(graph.model.path, engine_options(graph, settings), [] {});
  }
  std::unique_ptr<pipeline::Ledger> ledger;
  if (asks && (engine != nullptr || !graph.needs_model()))
    ledger = open_ledger(output, graph, flags, settings, engine.get(), console);
  pipeline::RunOptions options;
  options.decoders = decoders.get();
  options.history = ledger.get();
  return print_plan(graph, inputs, options);
}

ExitCode exit_code(const pipeline::RunSummary& summary, const Interrupts& interrupts) {
  if (summary.interrupted) return interrupts.exit_code();
  return summary.partial + summary.failed > 0 ? ExitCode::inputs_failed : ExitCode::ok;
}

}  // namespace

ExitCode run_command(const RunFlags& flags) {
  const Environment environment = process_environment();
  const ProcessSettings settings = resolve(flags, environment);
  use_kernels(settings);
  const Console console(settings.log_level);

  pipeline::GraphSpec spec = pipeline::parse_graph_file(flags.graph);
  apply_flags(spec, flags, environment);
  const pipeline::Graph graph = pipeline::build_graph(spec, settings.password_file);
  const std::filesystem::path output = graph.output_path.empty() ? "-" : graph.output_path;
  const InputList list = list_inputs(graph, flags, output);
  const std::vector<pipeline::ListedInput>& inputs = list.inputs;
  const stages::DecodePlan plan = decode_plan(graph);
  if (flags.dry_run) {
    return dry_run(graph, inputs, plan, output, flags, settings, console);
  }
  if (graph.needs_model() && graph.model.path.empty()) {
    throw pipeline::ConfigError(
        graph.file.string() +
        " names no model; give --model DIR, set REELFOLIO_MODEL, or add model: {path: ...}");
  }
  check_output(output, graph, inputs, settings);
  if (!graph.subtitles.empty()) subtitles_folder(graph, output);
  if (inputs.empty()) console.warning("there are no inputs");

  // Before any thread starts: decoders shall have none, and threads inherit that the signals are blocked.
  const auto decoders =
      start_decoders(plan, graph.limits.input, settings.password_file, flags.isolate, console);
  const OutputLock lock(output);
  Interrupts interrupts(
      [&console] { console.info("stopping; the same command goes on from here (again: end at once)"); },
      [&lock] { lock.remove_file(); });
  // The output first: a place that cannot be written is known before a model is loaded.
  const auto sink = make_sink(graph, output);

  const auto started = std::chrono::steady_clock::now();
  pipeline::RunReport report;
  report.started_at = utc_now();
  std::unique_ptr<engine::Engine> engine;
  if (graph.needs_model()) {
    console.debug("loading " + graph.model.path.string() + " with " + std::to_string(settings.threads) +
                  " threads");
    // A run that finds nothing to ask does without the weights.
    engine = load_engine_when_asked(graph.model.path, engine_options(graph, settings), [&console, started] {
      const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - started;
      console.debug("the model is loaded " + std::to_string(taken.count()) + " s after the start");
    });
  }
  const auto ledger = open_ledger(output, graph, flags, settings, engine.get(), console);

  ProgressMode mode = settings.progress;
  // Reasons and a line that is written over do not go together.
  if (flags.explain && mode == ProgressMode::automatic) mode = ProgressMode::plain;
  const auto display = pipeline::make_progress(mode, settings.log_level == LogLevel::error, std::cerr,
                                               pipeline::terminal_info(STDERR_FILENO));
  ExplainingProgress explaining(graph, *display, std::cerr);
  pipeline::Progress& progress = flags.explain ? static_cast<pipeline::Progress&>(explaining) : *display;
  pipeline::RunOptions options;
  options.decoders = decoders.get();
  options.history = ledger.get();
  report.summary =
      pipeline::run_graph(graph, inputs, engine.get(), *sink, progress, interrupts.token(), options);

  interrupts.stopped_in_time();
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - started;
  report.seconds = taken.count();
  const pipeline::RunSummary summary = report.summary;
  if (is_regular_output(output)) {
    write_report(output, graph, flags, settings, list.positions, std::move(report), engine.get());
  }
  return exit_code(summary, interrupts);
}

}  // namespace reelfolio::cli
