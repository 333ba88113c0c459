// Times prefill and decode in the release's decoder shapes with invented weights: a few
// layers of each kind, scaled to the whole model by their share of its weights.
//
//   reelfolio_decode_bench [--threads N] [--repeats N] [--weights bf16|f32] [--context N]
//
// Reads nothing and writes a checkpoint of some 2 GB below the temporary folder while it runs.

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "engine/config.h"
#include "engine/kernels/row_kernels.h"
#include "engine/ops/matmul.h"
#include "engine/text/decoder.h"

namespace {

using namespace reelfolio::engine;

/// E4B in small: the pattern's last four layers twice, so that the second half reads the
/// keys and values of the first, and a vocabulary that keeps the file small.
constexpr std::size_t kHidden = 2560;
constexpr std::size_t kIntermediate = 10240;
constexpr std::size_t kPerLayer = 256;
constexpr std::size_t kLayers = 6;
constexpr std::size_t kOwnKv = 4;
constexpr std::size_t kVocabulary = 16384;

/// Weights of E4B that a token meets: layers with their own keys and values, the rest, the head.
constexpr double kReleaseEarly = 24;
constexpr double kReleaseLate = 18;
constexpr double kReleaseVocabulary = 262144;

bool is_full(std::size_t layer) {
  return layer % 2 == 1;
}

struct Tensor {
  std::string name;
  std::vector<std::size_t> shape;
  bool ones = false;  ///< norm weights
};

std::vector<Tensor> tensors() {
  const std::string text = "model.language_model.";
  std::vector<Tensor> all = {
      {text + "embed_tokens.weight", {kVocabulary, kHidden}},
      {text + "embed_tokens_per_layer.weight", {kVocabulary, kLayers * kPerLayer}},
      {text + "per_layer_model_projection.weight", {kLayers * kPerLayer, kHidden}},
      {text + "per_layer_projection_norm.weight", {kPerLayer}, true},
      {text + "norm.weight", {kHidden}, true},
  };
  for (std::size_t i = 0; i < kLayers; ++i) {
    const std::string layer = text + "layers." + std::to_string(i) + ".";
    const std::size_t head_dim = is_full(i) ? 512 : 256;
    for (const char* norm : {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                             "post_feedforward_layernorm", "post_per_layer_input_norm"}) {
      all.push_back({layer + norm + ".weight", {kHidden}, true});
    }
    all.push_back({layer + "self_attn.q_norm.weight", {head_dim}, true});
    all.push_back({layer + "self_attn.q_proj.weight", {8 * head_dim, kHidden}});
    all.push_back({layer + "self_attn.o_proj.weight", {kHidden, 8 * head_dim}});
    if (i < kOwnKv) {
      all.push_back({layer + "self_attn.k_norm.weight", {head_dim}, true});
      all.push_back({layer + "self_attn.k_proj.weight", {2 * head_dim, kHidden}});
      all.push_back({layer + "self_attn.v_proj.weight", {2 * head_dim, kHidden}});
    }
    all.push_back({layer + "mlp.gate_proj.weight", {kIntermediate, kHidden}});
    all.push_back({layer + "mlp.up_proj.weight", {kIntermediate, kHidden}});
    all.push_back({layer + "mlp.down_proj.weight", {kHidden, kIntermediate}});
    all.push_back({layer + "per_layer_input_gate.weight", {kPerLayer, kHidden}});
    all.push_back({layer + "per_layer_projection.weight", {kHidden, kPerLayer}});
    all.push_back({layer + "layer_scalar", {1}, true});
  }
  return all;
}

void write_checkpoint(const std::filesystem::path& dir) {
  std::string header = "{";
  std::size_t offset = 0;
  for (const Tensor& tensor : tensors()) {
    std::size_t size = 2;
    std::string shape;
    for (const std::size_t n : tensor.shape) {
      size *= n;
      shape += (shape.empty() ? "" : ",") + std::to_string(n);
    }
    header += (header.size() > 1 ? ",\"" : "\"") + tensor.name + R"(":{"dtype":"BF16","shape":[)" + shape +
              R"(],"data_offsets":[)" + std::to_string(offset) + "," + std::to_string(offset + size) + "]}";
    offset += size;
  }
  header += "}";
  std::ofstream file(dir / "model.safetensors", std::ios::binary);
  const std::uint64_t size = header.size();
  file.write(reinterpret_cast<const char*>(&size), sizeof size);
  file.write(header.data(), static_cast<std::streamsize>(header.size()));
  // Small numbers of both signs: each bf16 word keeps its sign and fraction, with exponents 2^-6 .. 2^-5.
  std::vector<std::uint16_t> block(1 << 16);
  std::uint32_t state = 1;
  for (auto& word : block) {
    state = state * 1664525U + 1013904223U;
    word = static_cast<std::uint16_t>((state >> 16 & 0x80FFU) | 0x3C80U);
  }
  const std::vector<std::uint16_t> ones(kHidden, 0x3F80);
  for (const Tensor& tensor : tensors()) {
    std::size_t left = 1;
    for (const std::size_t n : tensor.shape) left *= n;
    const auto& source = tensor.ones ? ones : block;
    while (left > 0) {
      const std::size_t count = std::min(left, source.size());
      file.write(reinterpret_cast<const char*>(source.data()), static_cast<std::streamsize>(2 * count));
      left -= count;
    }
  }
}

ModelConfig make_config() {
  ModelConfig config;
  TextConfig& text = config.text;
  text.vocab_size = text.vocab_size_per_layer_input = kVocabulary;
  text.hidden_size = kHidden;
  text.num_hidden_layers = kLayers;
  text.num_attention_heads = 8;
  text.num_kv_shared_layers = kLayers - kOwnKv;
  text.first_kv_shared_layer = kOwnKv;
  text.hidden_size_per_layer_input = kPerLayer;
  text.sliding_window = 512;
  text.max_position_embeddings = 131072;
  text.final_logit_softcapping = 30.0F;
  text.full_rope = {RopeConfig::Type::proportional, 1e6, 0.25, 1.0};
  for (std::size_t i = 0; i < kLayers; ++i) {
    TextLayerConfig layer;
    layer.type = is_full(i) ? LayerType::full : LayerType::sliding;
    layer.head_dim = is_full(i) ? 512 : 256;
    layer.num_key_value_heads = 2;
    layer.intermediate_size = kIntermediate;
    layer.kv_layer = i < kOwnKv ? i : (is_full(i) ? kOwnKv - 1 : kOwnKv - 2);
    text.layers.push_back(layer);
  }
  return config;
}

double median(int repeats, const std::function<void()>& work) {
  std::vector<double> seconds;
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

class Bench {
 public:
  Bench(const std::filesystem::path& dir, ops::WeightType type)
      : checkpoint_(Checkpoint::open(dir)), decoder_(config_, checkpoint_, type) {}

  std::size_t memory_bytes() const { return decoder_.memory_bytes(); }
  text::KvCache cache() const { return decoder_.make_cache(); }

  void run(std::vector<text::KvCache>& caches, std::size_t rows, text::LogitRows wanted) {
    std::vector<TokenId> ids(rows);
    for (std::size_t i = 0; i < rows; ++i)
      ids[i] = static_cast<TokenId>((i * 37 + caches[0].length()) % kVocabulary);
    inputs_.resize(rows, kHidden);
    decoder_.embed(ids, inputs_.view());
    std::vector<text::SequenceStep> steps;
    for (auto& cache : caches) steps.push_back({&cache, std::as_const(inputs_).view(), ids, wanted});
    decoder_.forward(steps, logits_);
  }

 private:
  const ModelConfig config_ = make_config();
  Checkpoint checkpoint_;
  text::TextDecoder decoder_;
  MatrixBuffer inputs_, logits_;
};

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);  // lines appear as they are measured, in a pipe too
  int threads = ops::num_threads();
  int repeats = 5;
  std::size_t context = 512;
  ops::WeightType type = ops::WeightType::bf16;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    if (flag == "--threads") threads = std::atoi(argv[i + 1]);
    if (flag == "--repeats") repeats = std::atoi(argv[i + 1]);
    if (flag == "--context") context = static_cast<std::size_t>(std::atol(argv[i + 1]));
    if (flag == "--weights")
      type = std::string(argv[i + 1]) == "f32" ? ops::WeightType::f32 : ops::WeightType::bf16;
  }
  ops::set_num_threads(threads);
  const auto dir =
      std::filesystem::temp_directory_path() / ("reelfolio_decode_bench." + std::to_string(getpid()));
  std::filesystem::create_directory(dir);
  write_checkpoint(dir);
  Bench bench(dir, type);
  std::filesystem::remove_all(dir);  // the mapping keeps it readable

  std::printf("%s, %d threads, %s, row kernels %s, weights %s, %.2f GB, median of %d\n", cpu_name().c_str(),
              threads, ops::matmul_description().c_str(), kernels::row_kernels().name,
              type == ops::WeightType::f32 ? "f32" : "bf16", static_cast<double>(bench.memory_bytes()) * 1e-9,
              repeats);
  for (const std::size_t rows : {128, 512}) {
    const double seconds = median(repeats, [&] {
      std::vector<text::KvCache> caches;
      caches.push_back(bench.cache());
      bench.run(caches, rows, text::LogitRows::none);
    });
    // Chunks without logits run the layers with keys and values of their own alone.
    std::printf("prefill %4zu: %8.1f ms here, E4B %6.1f tok/s\n", rows, seconds * 1e3,
                static_cast<double>(rows) / (seconds * kReleaseEarly / kOwnKv));
  }
  for (const std::size_t sequences : {1, 4, 8, 16}) {
    std::vector<text::KvCache> caches;
    text::KvCache filled = bench.cache();
    {
      std::vector<text::KvCache> one;
      one.push_back(std::move(filled));
      for (std::size_t done = 0; done < context; done += 512) {
        bench.run(one, std::min<std::size_t>(512, context - done), text::LogitRows::none);
      }
      for (std::size_t i = 0; i < sequences; ++i) caches.push_back(one[0].fork());
    }
    bench.run(caches, 1, text::LogitRows::last);
    const double early = median(repeats, [&] { bench.run(caches, 1, text::LogitRows::none); });
    const double whole = median(repeats, [&] { bench.run(caches, 1, text::LogitRows::last); });
    // Shared layers and head together weigh (2 layers + the small head) here; both scale by their weights.
    const double layer_weights = 3.95e9 / (kReleaseEarly + kReleaseLate);
    const double late_here = (kLayers - kOwnKv) * layer_weights + static_cast<double>(kVocabulary * kHidden);
    const double late_release =
        kReleaseLate * layer_weights + kReleaseVocabulary * static_cast<double>(kHidden);
    const double step = early * kReleaseEarly / kOwnKv + (whole - early) * late_release / late_here;
    std::printf("decode %2zu sequences of %zu: %7.2f ms here, E4B %7.1f ms a step, %6.1f tok/s in all\n",
                sequences, context, whole * 1e3, step * 1e3, static_cast<double>(sequences) / step);
  }
  return 0;
}
