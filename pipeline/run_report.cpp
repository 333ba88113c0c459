#include "pipeline/run_report.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string_view>

#include "stages/atomic_file.h"

namespace reelfolio::pipeline {

Machine this_machine() {
  Machine machine;
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; machine.cpu.empty() && std::getline(cpuinfo, line);) {
    constexpr std::string_view kKey = "model name";
    const std::size_t colon = line.find(": ");
    if (line.compare(0, kKey.size(), kKey) == 0 && colon != std::string::npos)
      machine.cpu = line.substr(colon + 2);
  }
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (::sched_getaffinity(0, sizeof cores, &cores) == 0) machine.cores = CPU_COUNT(&cores);
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page_bytes = ::sysconf(_SC_PAGESIZE);
  if (pages > 0 && page_bytes > 0) {
    machine.memory_bytes = static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page_bytes);
  }
  return machine;
}

std::uint64_t peak_memory_bytes() {
  rusage usage{};
  if (::getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  return static_cast<std::uint64_t>(std::max(usage.ru_maxrss, 0L)) * 1024;
}

std::string run_report_json(const RunReport& report) {
  using stages::Json;
  Json document;
  document["version"] = report.version;
  document["graph_fingerprint"] = report.graph_fingerprint;
  document["model_fingerprint"] =
      report.model_fingerprint.empty() ? Json(nullptr) : Json(report.model_fingerprint);
  document["machine"] = {{"cpu", report.machine.cpu},
                         {"cores", report.machine.cores},
                         {"memory_bytes", report.machine.memory_bytes}};
  Json& options = document["options"] = Json::object();
  for (const auto& [name, value] : report.options) options[name] = value;
  if (!report.shard.is_null()) document["shard"] = report.shard;
  document["output"] = report.output;
  document["started_at"] = report.started_at;
  document["seconds"] = report.seconds;
  document["interrupted"] = report.summary.interrupted;
  document["counts"] = {{"inputs", report.summary.inputs},   {"ok", report.summary.ok},
                        {"partial", report.summary.partial}, {"failed", report.summary.failed},
                        {"skipped", report.summary.skipped}, {"reused", report.summary.reused},
                        {"units", report.summary.units}};
  Json& stages = document["stages"] = Json::object();
  for (const auto& [name, cost] : report.summary.stage_costs) {
    stages[name] = {{"seconds", cost.seconds},
                    {"items", cost.items},
                    {"prompt_tokens", cost.prompt_tokens},
                    {"generated_tokens", cost.generated_tokens},
                    {"known_answers", cost.known_answers}};
  }
  document["engine"] = {{"prefill_tokens", report.engine.prefill_tokens},
                        {"decode_tokens", report.engine.decode_tokens},
                        {"forced_tokens", report.engine.forced_tokens},
                        {"masked_tokens", report.engine.masked_tokens},
                        {"images", report.engine.images},
                        {"audio_clips", report.engine.audio_clips},
                        {"mask_s", report.engine.mask_s},
                        {"vision_s", report.engine.vision_s},
                        {"audio_s", report.engine.audio_s},
                        {"prefill_s", report.engine.prefill_s},
                        {"decode_s", report.engine.decode_s}};
  document["peak_memory_bytes"] = report.peak_memory;
  return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::filesystem::path run_report_path(const std::filesystem::path& output) {
  std::filesystem::path path = output;
  path += ".run.json";
  return path;
}

void write_run_report(const std::filesystem::path& path, const RunReport& report) {
  stages::write_file_atomically(path, run_report_json(report));
}

}  // namespace reelfolio::pipeline
