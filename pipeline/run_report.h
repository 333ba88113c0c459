#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "pipeline/scheduler.h"
#include "stages/record.h"

/// out.jsonl.run.json: everything about a run that may differ from the next one's.
namespace reelfolio::pipeline {

struct Machine {
  std::string cpu;  ///< as the kernel names it; empty if it does not
  int cores = 0;    ///< that this process may use
  std::uint64_t memory_bytes = 0;
};

/// The machine this runs on. Linux; what cannot be found out stays empty or 0.
Machine this_machine();

/// The most memory that this process (with its threads) has held at once.
std::uint64_t peak_memory_bytes();

struct RunReport {
  std::string version;
  std::string graph_fingerprint;
  std::string model_fingerprint;  ///< empty: no model was used
  Machine machine;
  std::vector<std::pair<std::string, stages::Json>> options;  ///< as resolved, in the order given
  std::string output;                                         ///< where the lines of this run are
  std::string started_at;                                     ///< ISO 8601, UTC
  double seconds = 0;
  std::uint64_t peak_memory = 0;
  engine::EngineStats engine;
  stages::Json shard;  ///< of --shard: which one, and where its inputs stand among all; else null
  RunSummary summary;
};

/// One JSON object, indented, with a newline at its end.
std::string run_report_json(const RunReport& report);

/// "out.jsonl" -> "out.jsonl.run.json".
std::filesystem::path run_report_path(const std::filesystem::path& output);

/// Writes the report to `path` as a whole or not at all: temporary file in the same folder, fsync,
/// rename, fsync of the folder. Throws stages::OutputError.
void write_run_report(const std::filesystem::path& path, const RunReport& report);

}  // namespace reelfolio::pipeline
