#include "engine/bench.h"

#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "cli/bench_report.h"
#include "cli/options.h"
#include "cli/settings.h"
#include "pipeline/error.h"
#include "tests/support/catch.h"

using namespace reelfolio;
using namespace reelfolio::cli;

namespace {

BenchFlags parse_bench(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), {"reelfolio", "bench"});
  return std::get<BenchFlags>(parse_command_line(static_cast<int>(arguments.size()), arguments.data()));
}

engine::BenchOptions options(std::vector<const char*> arguments, const std::string& model_variable = "") {
  return resolve_bench(parse_bench(std::move(arguments)), [&](const std::string& name) {
    return name == "REELFOLIO_MODEL" ? model_variable : std::string();
  });
}

std::string bench_refusal(std::vector<const char*> arguments) {
  try {
    options(std::move(arguments));
  } catch (const pipeline::ConfigError& error) {
    return error.what();
  }
  return "";
}

/// Everything but image_1120 and the sound measured.
engine::BenchResult result() {
  engine::BenchResult result;
  result.model = "synthetic e4b";
  result.threads = 2;
  result.repeats = 3;
  result.context = 512;
  result.load_s = 12.5;
  result.text_weight_bytes = 9'250'000'000;
  result.load_peak_rss_bytes = 9'900'000'000;
  result.peak_rss_bytes = 10'500'000'000;
  result.limits = {45e9, 480e9, 955e9, 1900e9};
  result.matmul_kernels = "oneDNN 2.6.3, avx512_core_bf16";
  result.row_kernels = "avx512";
  result.attention_kernel = "avx512_bf16";
  result.quant_kernels = "avx512";
  double value = 0.35;
  for (const engine::BenchCase& each : engine::bench_cases()) {
    if (each.name == "image_1120" || each.name == "audio_30s") continue;
    const bool tokens = each.unit == engine::BenchUnit::tokens_per_second;
    result.measures.push_back({each, 0.25, value, tokens ? std::optional(0.0421) : std::nullopt, 0.83});
    value *= 3.5;
  }
  return result;
}

}  // namespace

TEST_CASE("bench: flags become options") {
  const auto made = options({"--synthetic", "e2b", "--weights", "int8", "--threads", "3", "--repeats", "5",
                             "--only", "decode,image_70", "--only=prefill"});
  CHECK(std::get<engine::SyntheticShape>(made.model).name == "e2b");
  CHECK(made.weights == engine::ops::WeightType::int8);
  CHECK(made.threads == 3);
  CHECK(made.repeats == 5);
  CHECK(made.context == 512);
  CHECK_FALSE(made.kv_cache);
  CHECK(made.pinning == engine::Pinning::automatic);
  const auto longer =
      options({"--synthetic", "e4b", "--context", "131071", "--kv-cache", "int8", "--pin", "on"});
  CHECK(longer.context == 131071);
  CHECK(longer.kv_cache == engine::text::KvType::int8);
  CHECK(longer.pinning == engine::Pinning::on);
  CHECK_FALSE(options({"--synthetic", "e4b", "--kv-cache", "auto"}).kv_cache);
  CHECK(made.only == std::vector<std::string>{"decode", "image_70", "prefill"});
  CHECK_FALSE(parse_bench({"--synthetic", "e2b"}).json);
  CHECK(parse_bench({"--synthetic", "e2b", "--json"}).json);
}

TEST_CASE("bench: a synthetic shape wins over the variable, a model flag over both") {
  CHECK(std::get<std::filesystem::path>(options({}, "dir").model) == "dir");
  CHECK(std::get<std::filesystem::path>(options({"--model", "other"}, "dir").model) == "other");
  CHECK(std::get<engine::SyntheticShape>(options({"--synthetic", "e4b"}, "dir").model).hidden_size == 2560);
}

TEST_CASE("bench: wrong flags are refused by name") {
  CHECK(bench_refusal({}).find("give --model DIR or --synthetic e4b") != std::string::npos);
  CHECK(bench_refusal({"--synthetic", "e8b"}).find("--synthetic is 'e8b', expected e4b or e2b") !=
        std::string::npos);
  CHECK(bench_refusal({"--synthetic", "e4b", "--model", "x"}).find("both given") != std::string::npos);
  CHECK(bench_refusal({"--synthetic", "e4b", "--only", "decode,speed"}).find("--only names 'speed'") !=
        std::string::npos);
  CHECK(bench_refusal({"--synthetic", "e4b", "--repeats", "0"}).find("--repeats is '0'") !=
        std::string::npos);
  CHECK(bench_refusal({"--synthetic", "e4b", "--weights", "int3"}).find("--weights is 'int3'") !=
        std::string::npos);
  CHECK(bench_refusal({"--synthetic", "e4b", "--kv-cache", "int4"}).find("--kv-cache is 'int4'") !=
        std::string::npos);
  CHECK(bench_refusal({"--synthetic", "e4b", "--pin", "yes"}).find("--pin is 'yes'") != std::string::npos);
  CHECK(bench_refusal({"--synthetic", "e4b", "--treads", "2"}).find("did you mean '--threads'?") !=
        std::string::npos);
}

TEST_CASE("bench: the JSON has every key, null for what was not measured") {
  const auto document = nlohmann::json::parse(bench_json(result(), "Some CPU"));
  for (const char* key : {"prefill_512_tok_s", "decode_1_tok_s", "decode_4_tok_s", "decode_8_tok_s",
                          "decode_16_tok_s",   "mask_median_us", "image_70_s",     "image_280_s",
                          "image_1120_s",      "audio_30s_s",    "load_s",         "peak_rss_bytes",
                          "threads",           "weights",        "model",          "cpu",
                          "repeats",           "kernels",        "limits",         "fractions",
                          "kv_cache",          "kv_bytes",       "own_bytes",      "mapped_bytes",
                          "pinning",           "context"}) {
    CAPTURE(key);
    CHECK(document.contains(key));
  }
  CHECK(document["prefill_512_tok_s"] == 0.35);
  CHECK(document["image_1120_s"].is_null());
  CHECK(document["audio_30s_s"].is_null());
  CHECK(document["peak_rss_bytes"] == 10'500'000'000);
  CHECK(document["weights"] == "bf16");
  CHECK(document["threads"] == 2);
  CHECK(document["fractions"]["decode_16"]["memory_read"] == 0.0421);
  CHECK(document["fractions"]["image_70"]["memory_read"].is_null());
  CHECK_FALSE(document["fractions"].contains("image_1120"));
}

TEST_CASE("bench: a model directory that is not UTF-8 still gives JSON") {
  engine::BenchResult named = result();
  named.model = "mod\xff";
  CHECK(nlohmann::json::accept(bench_json(named, "Some CPU")));
}

TEST_CASE("bench: the columns of the table are aligned") {
  const std::string text = bench_table(result(), "Some CPU");
  CAPTURE(text);
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  REQUIRE(lines.size() > 14);
  CHECK(lines[0] ==
        "synthetic e4b, weights bf16, keys and values bf16, 2 threads, decode behind 512 positions, median "
        "of 3");
  CHECK(lines[1] == "Some CPU");
  CHECK(lines[3].empty());
  const std::size_t memory_end = lines[4].find("of memory") + std::string("of memory").size();
  const std::size_t matmul_end = lines[4].size();
  CHECK(lines[4].ends_with("of matmul peak"));
  const std::size_t unit = lines[5].find("tok/s");
  REQUIRE(unit != std::string::npos);
  for (std::size_t i = 0; i < engine::bench_cases().size(); ++i) {
    const std::string& line = lines[5 + i];
    CAPTURE(line);
    CHECK(line.size() == matmul_end);
    CHECK(line[memory_end - 1] != ' ');
    CHECK(line[memory_end] == ' ');
    // Before the unit stands the value's last digit, or nothing was measured.
    CHECK((line[unit - 2] != ' ' && line[unit - 1] == ' '));
  }
  CHECK(text.find("4.2 %") != std::string::npos);
  CHECK(text.find("83 %") != std::string::npos);
}
