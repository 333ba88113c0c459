#include "engine/bench.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <utility>

#include "engine/audio/audio_tensors.h"
#include "engine/audio/mel_features.h"
#include "engine/audio_clip.h"
#include "engine/cache_room.h"
#include "engine/error.h"
#include "engine/kernels/attention.h"
#include "engine/kernels/quant_kernels.h"
#include "engine/kernels/row_kernels.h"
#include "engine/packed_model.h"
#include "engine/sampling/sampler.h"
#include "engine/stopwatch.h"
#include "engine/synthetic_tokenizer.h"
#include "engine/text/decoder.h"
#include "engine/tokenizer.h"
#include "engine/towers.h"
#include "engine/vision/preprocess.h"

namespace reelfolio::engine {

namespace {

constexpr std::array<BenchCase, 9> kCases = {{{"prefill_512", BenchUnit::tokens_per_second},
                                              {"decode_1", BenchUnit::tokens_per_second},
                                              {"decode_4", BenchUnit::tokens_per_second},
                                              {"decode_8", BenchUnit::tokens_per_second},
                                              {"decode_16", BenchUnit::tokens_per_second},
                                              {"image_70", BenchUnit::seconds},
                                              {"image_280", BenchUnit::seconds},
                                              {"image_1120", BenchUnit::seconds},
                                              {"audio_30s", BenchUnit::seconds}}};
constexpr std::string_view kMaskItem = "mask";
constexpr std::size_t kPromptTokens = 512;
constexpr int kStepsPerRepeat = 4;
constexpr int kMaskRuns = 10;

bool covers(std::string_view item, std::string_view name) {
  return name.starts_with(item) && (name.size() == item.size() || name[item.size()] == '_');
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

/// A figure of /proc/self/status: "VmHWM:" is the most that was resident. Not getrusage: its maximum
/// outlives exec and may be the parent's.
std::size_t status_bytes(std::string_view key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key)) return std::stoull(line.substr(key.size())) * 1024;
  }
  return 0;
}

void note_memory(BenchResult& result) {
  const std::size_t own = status_bytes("RssAnon:");
  const std::size_t mapped = status_bytes("RssFile:") + status_bytes("RssShmem:");
  if (own + mapped <= result.own_bytes + result.mapped_bytes) return;
  result.own_bytes = own;
  result.mapped_bytes = mapped;
}

/// What a case needs at least.
struct Work {
  std::optional<double> memory_bytes;
  double linear_operations = 0;
  double attention_operations = 0;
  double f32_operations = 0;  ///< of products that are f32 whatever the weights' type
};

/// Operations of one position through layers [first, last) when `keys` positions can be seen.
Work layer_work(const TextConfig& text, std::size_t first, std::size_t last, std::size_t keys) {
  const auto hidden = static_cast<double>(text.hidden_size);
  const auto per_layer = static_cast<double>(text.hidden_size_per_layer_input);
  Work work;
  for (std::size_t i = first; i < last; ++i) {
    const TextLayerConfig& layer = text.layers[i];
    const auto q_size = static_cast<double>(text.num_attention_heads * layer.head_dim);
    const auto kv_size = static_cast<double>(layer.num_key_value_heads * layer.head_dim);
    const auto intermediate = static_cast<double>(layer.intermediate_size);
    const std::size_t seen = layer.type == LayerType::sliding ? std::min(keys, text.sliding_window) : keys;
    double weights = hidden * (2 * q_size + 3 * intermediate + 3 * per_layer);
    if (layer.kv_layer == i) weights += hidden * 2 * kv_size;
    work.linear_operations += 2 * weights;
    work.attention_operations += 4 * q_size * static_cast<double>(seen);
  }
  return work;
}

/// A chunk of `rows` positions behind `start`, with logits for its last one.
Work text_work(const TextConfig& text, std::size_t start, std::size_t rows) {
  Work total;
  const auto add = [&](const Work& work) {
    total.linear_operations += work.linear_operations;
    total.attention_operations += work.attention_operations;
  };
  for (std::size_t r = 0; r < rows; ++r) {
    add(layer_work(text, 0, text.first_kv_shared_layer, start + r + 1));
  }
  add(layer_work(text, text.first_kv_shared_layer, text.num_hidden_layers, start + rows));
  total.linear_operations += 2 * static_cast<double>(text.vocab_size * text.hidden_size);
  return total;
}

/// Keys and values, with their scales, that one decode step of a sequence reads. Layers that share the keys
/// of another read them again.
double kv_bytes(const TextConfig& text, const text::KvLayout& layout, std::size_t positions) {
  double bytes = 0;
  for (const TextLayerConfig& layer : text.layers) {
    bytes += static_cast<double>(layout.bytes_read(layer.kv_layer, positions));
  }
  return bytes;
}

Work image_work(const ModelConfig& config, const vision::PreprocessedImage& image) {
  const VisionConfig& vision = *config.vision;
  const auto patches = static_cast<double>(image.patches.rows());
  const auto hidden = static_cast<double>(vision.hidden_size);
  const auto heads = static_cast<double>(vision.num_attention_heads * vision.head_dim);
  const auto intermediate = static_cast<double>(vision.intermediate_size);
  const auto layers = static_cast<double>(vision.num_hidden_layers);
  const auto patch_values = static_cast<double>(image.patches.cols());
  Work work;
  work.linear_operations =
      2 * patches * hidden * (layers * (4 * heads + 3 * intermediate) + patch_values) +
      2 * static_cast<double>(image.soft_tokens()) * hidden * static_cast<double>(config.text.hidden_size);
  work.attention_operations = layers * 4 * patches * patches * heads;
  return work;
}

Work audio_work(const ModelConfig& config, std::size_t frames) {
  const AudioConfig& audio = *config.audio;
  const auto steps = static_cast<double>((frames + 3) / 4);
  Work work;
  for (const audio::AudioTensor& tensor : audio::audio_tensors(config)) {
    if (tensor.use != audio::AudioTensor::Use::matrix) continue;
    work.linear_operations += 2 * steps * static_cast<double>(tensor.shape[0] * tensor.shape[1]);
  }
  // A step is made of four times a quarter of the mel bins, each a window of 3 x 3, and the first
  // convolution has twice as many of both.
  const auto first = static_cast<double>(audio.subsampling_conv_channels[0]);
  const auto second = static_cast<double>(audio.subsampling_conv_channels[1]);
  const auto hidden = static_cast<double>(audio.hidden_size);
  const double bins = static_cast<double>(audio::kMelBins) / 4;
  work.f32_operations = 2 * steps * bins * (4 * 9 * first + 9 * first * second + second * hidden);
  return work;
}

/// Noise that swells and fades, like speech.
AudioClip noise(std::size_t samples) {
  AudioClip clip;
  std::uint32_t state = 1;
  for (std::size_t i = 0; i < samples; ++i) {
    state = state * 1664525U + 1013904223U;
    const float level = 0.1F * static_cast<float>(i / 200 % 21) / 20.0F;
    clip.samples.push_back(level * (static_cast<float>(state >> 8) / 8388608.0F - 1.0F));
  }
  return clip;
}

/// A frame's or photograph's shades and noise; the time does not depend on them.
RgbImage photograph(int width, int height) {
  RgbImage image{width, height, {}};
  image.pixels.resize(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3);
  std::uint32_t state = 1;
  for (int y = 0; y < height; ++y) {
    std::uint8_t* row = image.row(y);
    for (int x = 0; x < width; ++x) {
      state = state * 1664525U + 1013904223U;
      const auto noise = static_cast<int>(state >> 28);
      row[3 * x] = static_cast<std::uint8_t>(x * 200 / width + noise);
      row[3 * x + 1] = static_cast<std::uint8_t>(y * 200 / height + noise);
      row[3 * x + 2] = static_cast<std::uint8_t>((x + y) % 200 + noise);
    }
  }
  return image;
}

/// Black strokes on white in lines, like print.
RgbImage page(int width, int height) {
  constexpr int kMargin = 100;
  constexpr int kLineHeight = 24;
  RgbImage image{width, height, {}};
  image.pixels.assign(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3, 255);
  std::uint32_t state = 1;
  for (int top = kMargin; top + kLineHeight < height - kMargin; top += kLineHeight) {
    for (int x = kMargin; x < width - kMargin; x += 4) {
      state = state * 1664525U + 1013904223U;
      if (state >> 30 == 0) continue;  // gaps between letters
      const int tall = 8 + static_cast<int>(state >> 29);
      for (int y = top; y < top + tall; ++y) std::fill_n(image.row(y) + 3 * x, 6, std::uint8_t{0});
    }
  }
  return image;
}

/// A loaded model and what its cases share. One thread.
class Bench {
 public:
  Bench(const BenchOptions& options, ModelConfig config, Checkpoint checkpoint, ops::WeightType weights)
      : options_(options),
        config_(std::move(config)),
        checkpoint_(std::move(checkpoint)),
        decoder_(config_, checkpoint_, weights, options.kv_cache.value_or(text::default_kv_type(weights))),
        towers_(config_, checkpoint_, weights) {
    // The steps that are measured come behind it.
    const std::size_t most = config_.text.max_position_embeddings;
    if (options.context >= most) {
      throw ModelError("config.json: 'max_position_embeddings' is " + std::to_string(most) +
                       ", expected more than the " + std::to_string(options.context) +
                       " positions to decode behind");
    }
  }

  std::size_t text_weight_bytes() const { return decoder_.memory_bytes(); }
  std::size_t vision_weight_bytes() const { return towers_.vision_bytes(); }
  /// Keys and values of the case that had most.
  std::size_t most_kv_bytes() const { return most_kv_bytes_; }
  text::KvType kv_type() const { return decoder_.kv_layout().type; }

  /// Empty where the model has no such part.
  std::optional<std::pair<BenchMeasure, Work>> measure(const BenchCase& which);

 private:
  struct Timed {
    double seconds = 0;
    double tokens = 1;
    Work work;
  };
  bool has_room(std::size_t sequences) const;
  Timed prefill();
  Timed decode(std::size_t sequences);
  Timed image(int budget);
  Timed audio();

  TokenId token(std::size_t index) const {
    // Spread over the vocabulary, so that look-ups meet rows that no cache holds.
    return static_cast<TokenId>(index * 7919 % config_.text.vocab_size);
  }
  void fill(text::KvCache& cache) const;
  void check_finite() const;
  template <class F>
  double median_seconds(int runs, F work) const {
    std::vector<double> seconds;
    for (int i = 0; i < runs; ++i) {
      const auto start = Clock::now();
      work();
      seconds.push_back(seconds_since(start));
    }
    return median(std::move(seconds));
  }

  const BenchOptions& options_;
  const ModelConfig config_;
  const Checkpoint checkpoint_;
  text::TextDecoder decoder_;
  Towers towers_;
  MatrixBuffer inputs_, logits_;
  std::size_t most_kv_bytes_ = 0;
};

std::optional<std::pair<BenchMeasure, Work>> Bench::measure(const BenchCase& which) {
  const auto underscore = which.name.find('_');
  const std::string_view group = which.name.substr(0, underscore);
  Timed timed;
  if (group == "prefill") {
    timed = prefill();
  } else if (group == "decode") {
    const std::size_t sequences = std::stoul(std::string(which.name.substr(underscore + 1)));
    if (!has_room(sequences)) return std::nullopt;
    timed = decode(sequences);
  } else if (group == "image" && towers_.sees()) {
    timed = image(std::stoi(std::string(which.name.substr(underscore + 1))));
  } else if (group == "audio" && towers_.hears()) {
    timed = audio();
  } else {
    return std::nullopt;
  }
  BenchMeasure measure;
  measure.which = which;
  measure.seconds = timed.seconds;
  measure.value = which.unit == BenchUnit::tokens_per_second ? timed.tokens / timed.seconds : timed.seconds;
  return std::pair(measure, timed.work);
}

/// Whether so many sequences' keys and values fit into the memory that is available.
bool Bench::has_room(std::size_t sequences) const {
  const auto available = available_memory_bytes();
  const std::size_t positions =
      options_.context + 1 + kStepsPerRepeat * static_cast<std::size_t>(options_.repeats);
  return !available || sequences * decoder_.kv_layout().bytes_for(positions, kPromptTokens) <= *available;
}

Bench::Timed Bench::prefill() {
  std::vector<TokenId> ids(kPromptTokens);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = token(i + 1);
  const auto run = [&] {
    text::KvCache cache = decoder_.make_cache();
    inputs_.resize(ids.size(), config_.text.hidden_size);
    decoder_.embed(ids, inputs_.view());
    const text::SequenceStep step{&cache, std::as_const(inputs_).view(), ids, text::LogitRows::last};
    decoder_.forward({&step, 1}, logits_);
    (void)sampling::greedy(std::as_const(logits_).row(0));
    most_kv_bytes_ = std::max(most_kv_bytes_, cache.memory_bytes());
  };
  run();
  check_finite();
  Timed timed;
  timed.seconds = median_seconds(options_.repeats, run);
  timed.tokens = static_cast<double>(ids.size());
  timed.work = text_work(config_.text, 0, ids.size());
  timed.work.memory_bytes = static_cast<double>(decoder_.memory_bytes());
  return timed;
}

/// Gives the cache `context` positions without computing them: invented keys and values, in
/// pages of its own, as a prompt leaves them.
void Bench::fill(text::KvCache& cache) const {
  const text::KvLayout& layout = decoder_.kv_layout();
  std::size_t widest = 0;
  for (const auto& layer : layout.layers) widest = std::max(widest, layer.num_kv_heads * layer.head_dim);
  constexpr std::size_t kShifts = 61;
  std::vector<float> values(widest + kShifts);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = 0.05F * (static_cast<float>(i * 37 % 101) - 50.0F) / 5.0F;
  }
  for (std::size_t done = 0; done < options_.context;) {
    const std::size_t count = std::min(kPromptTokens, options_.context - done);
    cache.reserve(count);
    for (std::size_t i = 0; i < layout.layers.size(); ++i) {
      const std::size_t size = layout.layers[i].num_kv_heads * layout.layers[i].head_dim;
      for (std::size_t p = done; p < done + count; ++p) {
        const ConstVector row(values.data() + p % kShifts, size);
        cache.store(i, p, row, row);
      }
    }
    cache.commit(count);
    done += count;
  }
}

Bench::Timed Bench::decode(std::size_t sequences) {
  std::vector<text::KvCache> caches;
  std::vector<TokenId> next;
  for (std::size_t i = 0; i < sequences; ++i) {
    caches.push_back(decoder_.make_cache());
    fill(caches.back());
    next.push_back(token(i + 1));
  }
  inputs_.resize(sequences, config_.text.hidden_size);
  // As the engine does it: a token of each sequence, one pass, the next token of each.
  const auto step = [&] {
    decoder_.embed(next, inputs_.view());
    std::vector<text::SequenceStep> steps;
    for (std::size_t i = 0; i < sequences; ++i) {
      steps.push_back(
          {&caches[i], std::as_const(inputs_).view().row_block(i, 1), {&next[i], 1}, text::LogitRows::last});
    }
    decoder_.forward(steps, logits_);
    for (std::size_t i = 0; i < sequences; ++i) next[i] = sampling::greedy(std::as_const(logits_).row(i));
  };
  step();
  check_finite();
  std::size_t kv = 0;
  for (const text::KvCache& cache : caches) kv += cache.memory_bytes();
  most_kv_bytes_ = std::max(most_kv_bytes_, kv);
  Timed timed;
  timed.seconds = median_seconds(kStepsPerRepeat * options_.repeats, step);
  timed.tokens = static_cast<double>(sequences);
  timed.work = text_work(config_.text, options_.context, 1);
  timed.work.linear_operations *= timed.tokens;
  timed.work.attention_operations *= timed.tokens;
  timed.work.memory_bytes = static_cast<double>(decoder_.memory_bytes()) +
                            timed.tokens * kv_bytes(config_.text, decoder_.kv_layout(), options_.context);
  return timed;
}

Bench::Timed Bench::image(int budget) {
  const bool frame = budget == 70;
  const auto picture =
      std::make_shared<const RgbImage>(budget == 1120 ? page(1240, 1754) : photograph(1280, 720));
  const auto kind = frame ? SoftTokenSource::Kind::video_frame : SoftTokenSource::Kind::image;
  const SoftTokenSource source = SoftTokenSource::picture(picture, budget, kind);
  Timed timed;
  timed.work = image_work(config_, vision::preprocess_image(*picture, budget, frame));
  const auto run = [&] { (void)towers_.encode(source, [] {}); };
  run();
  timed.seconds = median_seconds(options_.repeats, run);
  return timed;
}

Bench::Timed Bench::audio() {
  const auto clip = std::make_shared<const AudioClip>(noise(kMostAudioSamples));
  const SoftTokenSource source = SoftTokenSource::sound(clip);
  Timed timed;
  timed.work = audio_work(config_, audio::num_mel_frames(clip->samples.size()));
  const auto run = [&] {
    const MatrixBuffer soft_tokens = towers_.encode(source, [] {});
    if (!std::isfinite(soft_tokens.row(0)[0]))
      throw ModelError("the audio tower's soft tokens are not finite numbers");
  };
  run();
  timed.seconds = median_seconds(options_.repeats, run);
  return timed;
}

void Bench::check_finite() const {
  for (const float logit : logits_.row(0)) {
    if (!std::isfinite(logit)) throw ModelError("the model's logits are not finite numbers");
  }
}

/// The model's, or for invented weights of the release's vocabulary an invented one of that size.
std::optional<Tokenizer> bench_tokenizer(const BenchOptions& options) {
  if (const auto* dir = std::get_if<std::filesystem::path>(&options.model)) return Tokenizer::load(*dir);
  const auto& shape = std::get<SyntheticShape>(options.model);
  if (synthetic_config(shape).text.vocab_size != kSyntheticVocabSize) return std::nullopt;
  return Tokenizer::parse(synthetic_tokenizer_json(true));
}

/// Linear layers of quantised weights multiply int8 rows, whatever the weights' width; the vision
/// tower's attention and the decoder's are floating point.
double least_seconds(const Work& work, ops::WeightType type, const MachineLimits& limits) {
  const double linear_rate = ops::is_quantized(type)         ? limits.matmul_int8_op_s
                             : type == ops::WeightType::bf16 ? limits.matmul_bf16_op_s
                                                             : limits.matmul_f32_op_s;
  const double attention_rate =
      type == ops::WeightType::f32 ? limits.matmul_f32_op_s : limits.matmul_bf16_op_s;
  return work.linear_operations / linear_rate + work.attention_operations / attention_rate +
         work.f32_operations / limits.matmul_f32_op_s;
}

}  // namespace

std::span<const BenchCase> bench_cases() {
  return kCases;
}

bool is_bench_item(std::string_view item) {
  return item == kMaskItem ||
         (!item.empty() && std::any_of(kCases.begin(), kCases.end(),
                                       [&](const BenchCase& c) { return covers(item, c.name); }));
}

const BenchMeasure* BenchResult::find(std::string_view name) const {
  for (const BenchMeasure& measure : measures) {
    if (measure.which.name == name) return &measure;
  }
  return nullptr;
}

BenchResult run_bench(const BenchOptions& options, const std::function<void(std::string_view)>& on_progress) {
  const auto progress = [&](std::string_view what) {
    if (on_progress) on_progress(what);
  };
  ops::set_num_threads(options.threads);
  BenchResult result;
  result.pinning = pin_threads(options.pinning, options.threads);
  const InterleavedMemory interleaved(options.pinning != Pinning::off);
  result.weights = options.weights;
  result.threads = options.threads;
  result.repeats = options.repeats;
  result.context = options.context;
  result.matmul_kernels = ops::matmul_description();
  result.row_kernels = kernels::row_kernels().name;
  result.quant_kernels = kernels::quant_kernels().name;

  std::vector<Work> works;
  {
    progress("load");
    const auto* shape = std::get_if<SyntheticShape>(&options.model);
    std::optional<Bench> bench;
    if (shape != nullptr) {
      result.model = "synthetic " + shape->name;
      ModelConfig config = synthetic_config(*shape);
      Checkpoint checkpoint = make_synthetic_checkpoint(config, result.model);
      const auto start = Clock::now();
      bench.emplace(options, std::move(config), std::move(checkpoint), result.weights);
      result.load_s = seconds_since(start);
    } else {
      const auto& dir = std::get<std::filesystem::path>(options.model);
      result.model = dir.string();
      const auto start = Clock::now();
      ModelConfig config = load_model_config(dir);
      Checkpoint checkpoint = Checkpoint::open(dir);
      result.weights = packed_weights(checkpoint).value_or(options.weights);
      verify_packed_model(checkpoint, PackedPart::decoder_and_vision);
      bench.emplace(options, std::move(config), std::move(checkpoint), result.weights);
      result.load_s = seconds_since(start);
    }
    result.attention_kernel = kernels::best_attention_kernel(result.weights).name;
    result.text_weight_bytes = bench->text_weight_bytes();
    result.kv_cache = bench->kv_type();
    result.vision_weight_bytes = bench->vision_weight_bytes();
    result.load_peak_rss_bytes = status_bytes("VmHWM:");
    note_memory(result);
    const auto is_wanted = [&](std::string_view name) {
      return options.only.empty() || std::any_of(options.only.begin(), options.only.end(),
                                                 [&](const std::string& item) { return covers(item, name); });
    };
    if (is_wanted(kMaskItem)) {
      if (const auto tokenizer = bench_tokenizer(options)) {
        progress(kMaskItem);
        result.masks = measure_masks(*tokenizer, kMaskRuns * options.repeats);
      }
    }
    for (const BenchCase& each : kCases) {
      if (!is_wanted(each.name)) continue;
      progress(each.name);
      if (auto measured = bench->measure(each)) {
        result.measures.push_back(measured->first);
        works.push_back(measured->second);
      }
      note_memory(result);
    }
    result.kv_bytes = bench->most_kv_bytes();
    result.peak_rss_bytes = status_bytes("VmHWM:");
  }

  progress("limits of the machine");
  result.limits = measure_machine_limits(options.repeats, options.limits);
  for (std::size_t i = 0; i < works.size(); ++i) {
    BenchMeasure& measure = result.measures[i];
    measure.matmul_fraction = least_seconds(works[i], result.weights, result.limits) / measure.seconds;
    if (works[i].memory_bytes) {
      measure.memory_fraction = *works[i].memory_bytes / result.limits.memory_read_bytes_s / measure.seconds;
    }
  }
  return result;
}

}  // namespace reelfolio::engine
