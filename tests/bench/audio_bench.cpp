// Times mel features and the audio tower in the release's shapes with invented weights, block by block.
//
//   reelfolio_audio_bench [--threads N] [--repeats N] [--weights f32|bf16|int8] [--seconds S]

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/audio/audio_tower.h"
#include "engine/audio/mel_features.h"
#include "engine/audio_clip.h"
#include "engine/machine_limits.h"
#include "engine/ops/matmul.h"
#include "engine/synthetic_checkpoint.h"

namespace {

using namespace reelfolio::engine;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::vector<float> noise(std::size_t samples) {
  std::vector<float> values(samples);
  std::uint32_t state = 1;
  for (float& value : values) {
    state = state * 1664525U + 1013904223U;
    value = 0.1F * (static_cast<float>(state >> 8) / 8388608.0F - 1.0F);
  }
  return values;
}

/// "ffw1" of "layer.3.ffw1", "norm_out" of "layer.3", the name itself of others.
std::string block_of(const std::string& name) {
  if (!name.starts_with("layer.")) return name;
  const std::size_t dot = name.find('.', 6);
  return dot == name.npos ? "norm_out" : name.substr(dot + 1);
}

}  // namespace

int main(int argc, char** argv) {
  int threads = ops::num_threads();
  int repeats = 5;
  double seconds = 30;
  ops::WeightType type = ops::WeightType::int8;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    const std::string value = argv[i + 1];
    if (flag == "--threads") threads = std::stoi(value);
    if (flag == "--repeats") repeats = std::stoi(value);
    if (flag == "--seconds") seconds = std::stod(value);
    if (flag == "--weights") type = ops::find_weight_type(value).value_or(type);
  }
  ops::set_num_threads(threads);
  const MachineLimits limits = measure_machine_limits(repeats, LimitSizes{});
  std::printf("%d threads, %s; matmul peak f32 %.0f, bf16 %.0f, int8 %.0f G op/s\n", threads,
              ops::matmul_description().c_str(), limits.matmul_f32_op_s / 1e9, limits.matmul_bf16_op_s / 1e9,
              limits.matmul_int8_op_s / 1e9);

  const ModelConfig config = synthetic_config(find_synthetic_shape("e4b").value());
  const Checkpoint checkpoint = make_synthetic_checkpoint(config, "synthetic e4b");
  auto start = Clock::now();
  const audio::AudioTower tower(config, checkpoint, type);
  std::printf("weights %s: loaded in %.2f s, %.0f MB of linear layers\n",
              std::string(ops::weight_type_name(type)).c_str(), seconds_since(start),
              static_cast<double>(tower.memory_bytes()) / 1e6);

  const std::vector<float> samples = noise(static_cast<std::size_t>(seconds * kAudioSampleRate));
  std::map<std::string, std::vector<double>> times;
  for (int repeat = -1; repeat < repeats; ++repeat) {
    std::map<std::string, double> blocks;
    const auto begin = Clock::now();
    const MatrixBuffer features = audio::mel_features(samples);
    blocks["features"] = seconds_since(begin);
    auto last = Clock::now();
    const MatrixBuffer soft_tokens = tower.encode(features.view(), [&](std::string_view name, ConstMatrix) {
      blocks[block_of(std::string(name))] += seconds_since(last);
      last = Clock::now();
    });
    blocks["projection"] = seconds_since(last);
    blocks["all"] = seconds_since(begin);
    if (repeat < 0) continue;  // compiles kernels, touches memory
    for (const auto& [name, time] : blocks) times[name].push_back(time);
  }
  const double steps = static_cast<double>(audio::num_soft_tokens(samples.size()));
  const double h = static_cast<double>(config.audio->hidden_size);
  const double layers = static_cast<double>(config.audio->num_hidden_layers);
  const std::map<std::string, double> weights = {{"ffw1", layers * 8 * h * h},
                                                 {"ffw2", layers * 8 * h * h},
                                                 {"attn", layers * 4 * h * h},
                                                 {"lconv", layers * 3 * h * h}};
  double all_weights = 0;
  for (const auto& [name, count] : weights) all_weights += count;
  const double rate = type == ops::WeightType::f32    ? limits.matmul_f32_op_s
                      : type == ops::WeightType::bf16 ? limits.matmul_bf16_op_s
                                                      : limits.matmul_int8_op_s;
  for (const auto& [name, values] : times) {
    const auto found = weights.find(name);
    const double count = found != weights.end() ? found->second : name == "all" ? all_weights : 0;
    std::printf("%-12s %8.2f ms, best %8.2f ms", name.c_str(), median(values) * 1e3,
                *std::min_element(values.begin(), values.end()) * 1e3);
    if (count > 0)
      std::printf(", layers' products alone at the peak %8.2f ms", 2 * count * steps / rate * 1e3);
    std::printf("\n");
  }
  return 0;
}
