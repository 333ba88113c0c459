#include "cli/bench_report.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <string_view>
#include <vector>

#include "stages/record.h"

namespace reelfolio::cli {

namespace {

using engine::BenchCase;
using engine::BenchMeasure;
using engine::BenchResult;
using engine::BenchUnit;
using stages::Json;

std::string decimal(double value, int digits) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

/// Three or more digits that mean something.
std::string number(double value) {
  return decimal(value, value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3);
}

std::string percent(double fraction) {
  return decimal(100 * fraction, fraction < 0.1 ? 1 : 0) + " %";
}

std::string title(std::string_view name) {
  if (name.starts_with("prefill_")) return "prefill, " + std::string(name.substr(8)) + " tokens";
  if (name == "decode_1") return "decode, 1 sequence";
  if (name.starts_with("decode_")) return "decode, " + std::string(name.substr(7)) + " sequences in all";
  if (name.starts_with("image_")) return "image, " + std::string(name.substr(6)) + " soft tokens";
  return "audio, 30 s";
}

class Table {
 public:
  using Row = std::array<std::string, 5>;

  void add(Row row) { rows_.push_back(std::move(row)); }

  /// The first and the unit's column begin at the left, numbers end at the right.
  std::string text() const {
    std::array<std::size_t, 5> widths{};
    for (const Row& row : rows_) {
      for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
    }
    std::string text;
    for (const Row& row : rows_) {
      std::string line;
      for (std::size_t c = 0; c < row.size(); ++c) {
        const std::string padding(widths[c] - row[c].size(), ' ');
        if (c > 0) line += c == 2 ? " " : "  ";
        line += c == 0 || c == 2 ? row[c] + padding : padding + row[c];
      }
      line.erase(line.find_last_not_of(' ') + 1);
      text += line + "\n";
    }
    return text;
  }

 private:
  std::vector<Row> rows_;
};

std::string key_of(const BenchCase& each) {
  // "audio_30s" carries the sound's length as its unit.
  return std::string(each.name) + (each.unit == BenchUnit::seconds ? "_s" : "_tok_s");
}

}  // namespace

std::string bench_table(const BenchResult& result, const std::string& cpu) {
  std::string text =
      result.model + ", weights " + std::string(engine::ops::weight_type_name(result.weights)) +
      ", keys and values " + std::string(engine::text::kv_type_name(result.kv_cache)) + ", " +
      std::to_string(result.threads) + (result.threads == 1 ? " thread" : " threads") + ", decode behind " +
      std::to_string(result.context) + " positions, median of " + std::to_string(result.repeats) + "\n";
  text += (cpu.empty() ? "unknown processor" : cpu) + "\n";
  text += result.matmul_kernels + "; rows " + result.row_kernels + "; image attention " +
          result.attention_kernel + "; int8 to int2 " + result.quant_kernels + "; threads " + result.pinning +
          "\n\n";

  Table table;
  table.add({"", "", "", "of memory", "of matmul peak"});
  for (const BenchCase& each : engine::bench_cases()) {
    const BenchMeasure* measure = result.find(each.name);
    if (measure == nullptr) {
      table.add({title(each.name), "-", "", "-", "-"});
      continue;
    }
    table.add({title(each.name), number(measure->value), each.unit == BenchUnit::seconds ? "s" : "tok/s",
               measure->memory_fraction ? percent(*measure->memory_fraction) : "-",
               percent(measure->matmul_fraction)});
  }
  const auto microseconds = [&](const char* name, std::optional<double> seconds) {
    table.add({name, seconds ? number(*seconds * 1e6) : "-", seconds ? "us" : "", "", ""});
  };
  microseconds("token mask, median", result.masks ? std::optional(result.masks->median_s) : std::nullopt);
  microseconds("token mask, slowest", result.masks ? std::optional(result.masks->slowest_s) : std::nullopt);
  const auto gigabytes = [&](const char* name, std::size_t bytes) {
    table.add({name, number(static_cast<double>(bytes) * 1e-9), "GB", "", ""});
  };
  table.add({"load", number(result.load_s), "s", "", ""});
  gigabytes("decoder weights in memory", result.text_weight_bytes);
  gigabytes("image weights in memory", result.vision_weight_bytes);
  gigabytes("keys and values, most", result.kv_bytes);
  gigabytes("peak memory, loaded", result.load_peak_rss_bytes);
  gigabytes("peak memory", result.peak_rss_bytes);
  gigabytes("  after a case: own", result.own_bytes);
  gigabytes("  mapped files, shared", result.mapped_bytes);
  table.add({"machine: memory read", number(result.limits.memory_read_bytes_s * 1e-9), "GB/s", "", ""});
  const auto rate = [&](const char* name, double operations) {
    table.add({name, number(operations * 1e-9), "G op/s", "", ""});
  };
  rate("machine: matmul f32", result.limits.matmul_f32_op_s);
  rate("machine: matmul bf16", result.limits.matmul_bf16_op_s);
  rate("machine: matmul int8", result.limits.matmul_int8_op_s);
  return text + table.text();
}

std::string bench_json(const BenchResult& result, const std::string& cpu) {
  Json document;
  document["model"] = result.model;
  document["weights"] = engine::ops::weight_type_name(result.weights);
  document["kv_cache"] = engine::text::kv_type_name(result.kv_cache);
  document["threads"] = result.threads;
  document["pinning"] = result.pinning;
  document["repeats"] = result.repeats;
  document["context"] = result.context;
  document["cpu"] = cpu;
  document["kernels"] = {{"matmul", result.matmul_kernels},
                         {"rows", result.row_kernels},
                         {"image_attention", result.attention_kernel},
                         {"quantized", result.quant_kernels}};
  Json fractions = Json::object();
  for (const BenchCase& each : engine::bench_cases()) {
    const BenchMeasure* measure = result.find(each.name);
    document[key_of(each)] = measure == nullptr ? Json(nullptr) : Json(measure->value);
    if (measure == nullptr) continue;
    fractions[std::string(each.name)] = {
        {"memory_read", measure->memory_fraction ? Json(*measure->memory_fraction) : Json(nullptr)},
        {"matmul", measure->matmul_fraction}};
  }
  document["mask_median_us"] = result.masks ? Json(result.masks->median_s * 1e6) : Json(nullptr);
  document["mask_slowest_us"] = result.masks ? Json(result.masks->slowest_s * 1e6) : Json(nullptr);
  document["masked_tokens"] = result.masks ? Json(result.masks->masks) : Json(nullptr);
  document["forced_tokens"] = result.masks ? Json(result.masks->forced_tokens) : Json(nullptr);
  document["load_s"] = result.load_s;
  document["text_weight_bytes"] = result.text_weight_bytes;
  document["vision_weight_bytes"] = result.vision_weight_bytes;
  document["kv_bytes"] = result.kv_bytes;
  document["own_bytes"] = result.own_bytes;
  document["mapped_bytes"] = result.mapped_bytes;
  document["load_peak_rss_bytes"] = result.load_peak_rss_bytes;
  document["peak_rss_bytes"] = result.peak_rss_bytes;
  document["limits"] = {{"memory_read_bytes_s", result.limits.memory_read_bytes_s},
                        {"matmul_f32_op_s", result.limits.matmul_f32_op_s},
                        {"matmul_bf16_op_s", result.limits.matmul_bf16_op_s},
                        {"matmul_int8_op_s", result.limits.matmul_int8_op_s}};
  document["fractions"] = std::move(fractions);
  // A directory's name need not be UTF-8.
  return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace reelfolio::cli
