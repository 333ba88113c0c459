#pragma once

#include <string>

#include "engine/bench.h"

/// What `reelfolio bench` prints.
namespace reelfolio::cli {

/// A heading of three lines and an aligned table. `cpu` is the processor's name.
std::string bench_table(const engine::BenchResult& result, const std::string& cpu);

/// One JSON object, indented, with a newline at its end. Every case has its key
/// ("prefill_512_tok_s", "image_70_s"), null where it was not measured; fractions are of
/// the limits that the object gives.
std::string bench_json(const engine::BenchResult& result, const std::string& cpu);

}  // namespace reelfolio::cli
