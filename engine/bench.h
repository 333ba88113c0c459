#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/machine_limits.h"
#include "engine/mask_bench.h"
#include "engine/ops/matmul.h"
#include "engine/synthetic_checkpoint.h"
#include "engine/text/kv_type.h"
#include "engine/thread_placement.h"

/// How fast this machine runs a model, and how near that is to what the machine can do.
namespace reelfolio::engine {

enum class BenchUnit { tokens_per_second, seconds };

/// Something to be measured.
///   prefill_512  one prompt of 512 tokens, up to the first token of the answer
///   decode_N     one token each for N sequences together, behind BenchOptions::context positions; not
///                where their keys and values do not fit into the memory that is available
///   image_N      a picture to at most N soft tokens, preprocessing included: a video frame of
///                1280 x 720 for 70, a picture of that size for 280, a page of 1240 x 1754 for 1120
///   audio_30s    30 seconds of sound to soft tokens
struct BenchCase {
  std::string_view name;
  BenchUnit unit;
};

/// All cases, in the order of the report.
std::span<const BenchCase> bench_cases();

/// Whether `item` names a case ("decode_4") or a group of them ("decode"), or is "mask".
bool is_bench_item(std::string_view item);

struct BenchOptions {
  /// A model directory, or a shape whose weights are invented.
  std::variant<std::filesystem::path, SyntheticShape> model;
  ops::WeightType weights = ops::WeightType::bf16;
  int threads = 1;
  int repeats = 3;
  /// Items that is_bench_item knows; empty: all cases.
  std::vector<std::string> only;
  std::size_t context = 512;
  std::optional<text::KvType> kv_cache;  ///< nullopt: text::default_kv_type
  Pinning pinning = Pinning::automatic;
  LimitSizes limits;
};

struct BenchMeasure {
  BenchCase which;
  double seconds = 0;  ///< median of one run: a prompt, a step of all sequences, a picture
  /// Tokens a second of all sequences together, or seconds: as which.unit says.
  double value = 0;
  /// Least bytes that had to come from memory (weights, keys and values) against what the
  /// machine reads in that time. Absent for pictures: their weights are a small part of the traffic.
  std::optional<double> memory_fraction;
  /// The time that the matrix products alone take at the machine's peak for their types,
  /// against the time taken.
  double matmul_fraction = 0;
};

struct BenchResult {
  std::string model;  ///< the directory, or "synthetic e4b"
  ops::WeightType weights = ops::WeightType::bf16;
  int threads = 1;
  int repeats = 1;
  std::size_t context = 0;
  text::KvType kv_cache = text::KvType::bf16;
  std::vector<BenchMeasure> measures;  ///< of the cases that were wanted and that this model can do
  /// Item "mask": constrained decoding's own cost. Absent where it was not wanted, or the model is
  /// synthetic and of another vocabulary than the release's.
  std::optional<MaskMeasure> masks;

  /// From the files (the invented weights) to a model that can answer: config, tensors, conversion.
  double load_s = 0;
  std::size_t text_weight_bytes = 0;  ///< of the decoder, as held in memory
  /// The most memory of this process so far (VmHWM): once loaded, and after all cases.
  std::size_t load_peak_rss_bytes = 0;
  std::size_t peak_rss_bytes = 0;
  /// What was resident after the case that left most: memory of the process itself, and pages of files and
  /// shared memory (a packed model's, the invented weights'), which others may use too and the system may
  /// take back.
  std::size_t own_bytes = 0;
  std::size_t mapped_bytes = 0;
  std::size_t vision_weight_bytes = 0;  ///< of the vision tower
  std::size_t kv_bytes = 0;             ///< keys and values of the case that had most

  MachineLimits limits;

  std::string matmul_kernels;  ///< "oneDNN 2.6.3, avx512_core_bf16"
  std::string row_kernels;
  std::string attention_kernel;  ///< of the vision tower
  std::string quant_kernels;     ///< of int8, int4 and int2 weights
  std::string pinning;           ///< what pin_threads did

  const BenchMeasure* find(std::string_view name) const;
};

/// Loads the model, runs the cases and, once its memory is free again, measures the machine. Each
/// case runs once unmeasured, then `repeats` times (decode: four steps a time).
///
/// Sets the OpenMP threads of the calling thread. `on_progress` gets a word on what begins.
/// Throws ModelError for a directory that is no usable model, and for logits that are not finite.
BenchResult run_bench(const BenchOptions& options,
                      const std::function<void(std::string_view)>& on_progress = {});

}  // namespace reelfolio::engine
