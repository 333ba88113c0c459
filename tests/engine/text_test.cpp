#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <numeric>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/cache_room.h"
#include "engine/error.h"
#include "engine/kernels/force_kernels.h"
#include "engine/kernels/quant_kernels.h"
#include "engine/kernels/row_kernels.h"
#include "engine/ops/matmul.h"
#include "engine/text/decoder.h"
#include "engine/text/exact_logits.h"
#include "tests/engine/invariance.h"
#include "tests/support/catch.h"
#include "tests/support/golden_kit.h"

namespace {

using namespace reelfolio::engine;
using reelfolio::test::golden_kits;
using reelfolio::test::GoldenTensor;
using reelfolio::test::GoldenTensors;
using reelfolio::test::same_bits;
using reelfolio::test::worst_difference;
using text::KvCache;
using text::LogitRows;
using text::SequenceStep;
using text::TextDecoder;

/// Limits of the reference kit's README for an f32 engine.
constexpr double kEmbeddingLimit = 1e-5;
constexpr double kLayerLimit = 1e-3;
constexpr double kLogitLimit = 2e-3;
constexpr double kMultimodalLimit = 5e-3;

constexpr ops::WeightType kAllTypes[] = {ops::WeightType::f32, ops::WeightType::bf16, ops::WeightType::int8,
                                         ops::WeightType::int4, ops::WeightType::int2};

struct Model {
  explicit Model(const std::filesystem::path& kit, ops::WeightType type = ops::WeightType::f32)
      : config(load_model_config(kit / "model")),
        checkpoint(Checkpoint::open(kit / "model")),
        decoder(config, checkpoint, type) {}

  MatrixBuffer embed(std::span<const TokenId> ids) const {
    MatrixBuffer rows(ids.size(), config.text.hidden_size);
    decoder.embed(ids, rows.view());
    return rows;
  }

  /// One forward pass of one sequence.
  MatrixBuffer run(KvCache& cache, std::span<const TokenId> ids, LogitRows rows,
                   const text::DecoderObserver& observer = {}) {
    const MatrixBuffer inputs = embed(ids);
    const SequenceStep step{&cache, inputs.view(), ids, rows};
    MatrixBuffer logits;
    decoder.forward({&step, 1}, logits, observer);
    return logits;
  }

  /// Logits of every position, fed `chunk` tokens at a time.
  std::vector<float> logits_in_chunks(std::span<const TokenId> ids, std::size_t chunk) {
    KvCache cache = decoder.make_cache();
    std::vector<float> all;
    for (std::size_t first = 0; first < ids.size(); first += chunk) {
      const auto part = ids.subspan(first, std::min(chunk, ids.size() - first));
      append(all, run(cache, part, LogitRows::all));
    }
    return all;
  }

  static void append(std::vector<float>& all, const MatrixBuffer& rows) {
    const auto view = rows.view();
    all.insert(all.end(), view.data, view.data + view.rows * view.cols);
  }

  ModelConfig config;
  Checkpoint checkpoint;
  TextDecoder decoder;
};

std::vector<TokenId> ids_of(const GoldenTensor& tensor) {
  return {tensor.values.begin(), tensor.values.end()};
}

std::vector<float> flat(ConstMatrix m) {
  std::vector<float> values;
  for (std::size_t r = 0; r < m.rows; ++r) values.insert(values.end(), m.row(r).begin(), m.row(r).end());
  return values;
}

std::vector<float> flat(const MatrixBuffer& m) {
  return flat(m.view());
}

TokenId likeliest(std::span<const float> logits) {
  return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

std::vector<TokenId> greedy(Model& model, KvCache& cache, MatrixBuffer logits, std::size_t count) {
  std::vector<TokenId> made;
  while (made.size() < count) {
    made.push_back(likeliest(logits.row(0)));
    logits = model.run(cache, {&made.back(), 1}, LogitRows::last);
  }
  return made;
}

/// Token ids with some variety, for tests that compare runs with each other.
std::vector<TokenId> invented_ids(std::size_t count, std::uint32_t seed = 1) {
  std::vector<TokenId> ids(count);
  for (auto& id : ids) {
    seed = seed * 1664525U + 1013904223U;
    id = static_cast<TokenId>(28 + (seed >> 16) % 680);
  }
  return ids;
}

}  // namespace

TEST_CASE("every intermediate tensor of the decoder matches the reference") {
  for (const auto& kit : golden_kits("text")) {
    INFO("kit " << kit);
    Model model(kit);
    const GoldenTensors golden(kit / "golden" / "text.safetensors");
    std::map<std::string, double> worst;
    for (const std::string prompt : {"a.", "b."}) {
      INFO("prompt " << prompt);
      const auto ids = ids_of(golden.get(prompt + "input_ids"));
      worst["inputs_embeds"] =
          std::max(worst["inputs_embeds"],
                   worst_difference(flat(model.embed(ids)), golden.get(prompt + "inputs_embeds").values));
      const std::size_t layers = model.config.text.num_hidden_layers;
      const std::size_t size = model.config.text.hidden_size_per_layer_input;
      std::vector<float> per_layer(ids.size() * layers * size);
      std::size_t seen_layers = 0;
      KvCache cache = model.decoder.make_cache();
      const MatrixBuffer logits = model.run(
          cache, ids, LogitRows::all, [&](std::string_view name, std::size_t layer, ConstMatrix values) {
            const std::string key(name);
            if (key == "per_layer_inputs") {
              for (std::size_t r = 0; r < values.rows; ++r) {
                std::copy(values.row(r).begin(), values.row(r).end(),
                          per_layer.begin() + static_cast<std::ptrdiff_t>((r * layers + layer) * size));
              }
              return;
            }
            const std::string full = prompt + key + (key == "final_norm" ? "" : "." + std::to_string(layer));
            if (key == "attn_context" && !golden.has(full)) return;  // kept for prompt a alone
            seen_layers += key == "layer" ? 1 : 0;
            worst[key] = std::max(worst[key], worst_difference(flat(values), golden.get(full).values));
          });
      CHECK(seen_layers == layers);
      worst["per_layer_inputs"] =
          std::max(worst["per_layer_inputs"],
                   worst_difference(per_layer, golden.get(prompt + "per_layer_inputs").values));
      worst["logits"] =
          std::max(worst["logits"], worst_difference(flat(logits), golden.get(prompt + "logits").values));

      const GoldenTensor tail = golden.get(prompt + "step_logits_tail");
      const std::vector<float> stepped = model.logits_in_chunks(ids, 1);
      const std::vector<float> last(stepped.end() - static_cast<std::ptrdiff_t>(tail.values.size()),
                                    stepped.end());
      worst["step_logits_tail"] = std::max(worst["step_logits_tail"], worst_difference(last, tail.values));
    }
    for (const auto& [group, difference] : worst) {
      INFO(group << ": largest difference " << difference);
      if (group == "inputs_embeds" || group == "per_layer_inputs") {
        CHECK(difference <= kEmbeddingLimit);
      } else if (group == "logits" || group == "step_logits_tail") {
        CHECK(difference <= kLogitLimit);
      } else {
        CHECK(difference <= kLayerLimit);
      }
    }
    CHECK(worst.size() == 7);
  }
}

TEST_CASE("greedy decoding makes the reference's 40 tokens") {
  for (const auto& kit : golden_kits("text")) {
    INFO("kit " << kit);
    Model model(kit);
    const auto golden = reelfolio::test::golden_json(kit / "golden" / "text.json");
    for (const std::string prompt : {"a", "b"}) {
      const auto ids = golden.at(prompt).at("input_ids").get<std::vector<TokenId>>();
      const auto expected = golden.at(prompt).at("greedy_40").get<std::vector<TokenId>>();
      KvCache cache = model.decoder.make_cache();
      MatrixBuffer logits = model.run(cache, ids, LogitRows::last);
      CHECK(greedy(model, cache, std::move(logits), expected.size()) == expected);
    }
  }
}

TEST_CASE("soft tokens of pictures and sound give the reference's logits and continuation") {
  for (const auto& kit : golden_kits("text")) {
    if (!std::filesystem::exists(kit / "golden" / "multimodal.json")) continue;
    Model model(kit);
    const GoldenTensors golden(kit / "golden" / "multimodal.safetensors");
    const auto description = reelfolio::test::golden_json(kit / "golden" / "multimodal.json");
    GoldenTensor inputs = golden.get("inputs_embeds");
    const auto ids = ids_of(golden.get("input_ids"));
    KvCache cache = model.decoder.make_cache();
    const SequenceStep step{&cache, ConstMatrix(inputs.values.data(), inputs.shape[0], inputs.shape[1]), ids,
                            LogitRows::all};
    MatrixBuffer logits;
    model.decoder.forward({&step, 1}, logits);
    const double difference = worst_difference(flat(logits), golden.get("logits").values);
    INFO("kit " << kit << ", logits: largest difference " << difference);
    CHECK(difference <= kMultimodalLimit);

    MatrixBuffer last(1, logits.cols());
    std::copy_n(logits.row(ids.size() - 1).begin(), logits.cols(), last.row(0).begin());
    CHECK(greedy(model, cache, std::move(last), 24) ==
          description.at("greedy_24").get<std::vector<TokenId>>());
  }
}

TEST_CASE("prefill, steps and chunks of any size give the same bits, around the window too") {
  for (const auto& kit : golden_kits("text")) {
    for (const auto type : kAllTypes) {
      Model model(kit, type);
      const std::size_t window = model.config.text.sliding_window;
      for (const std::size_t length : {window - 1, window, window + 1, 5 * window + 3}) {
        const auto ids = invented_ids(length);
        const std::vector<float> whole = model.logits_in_chunks(ids, length);
        for (const std::size_t chunk : {std::size_t{1}, std::size_t{7}, window, window + 1, 3 * window}) {
          INFO("kit " << kit << ", length " << length << ", chunk " << chunk);
          CHECK(same_bits(model.logits_in_chunks(ids, chunk), whole));
        }
      }
    }
  }
}

TEST_CASE("a prompt that skips the shared-KV layers has the logits of one that runs them all") {
  for (const auto& kit : golden_kits("text")) {
    Model model(kit);
    const auto ids = invented_ids(150);
    const std::vector<float> whole = model.logits_in_chunks(ids, ids.size());
    for (const std::size_t chunk : {std::size_t{150}, std::size_t{64}, std::size_t{9}}) {
      KvCache cache = model.decoder.make_cache();
      MatrixBuffer logits;
      std::size_t rows_in_last_layer = 0;
      for (std::size_t first = 0; first < ids.size(); first += chunk) {
        const std::size_t count = std::min(chunk, ids.size() - first);
        const bool end = first + count == ids.size();
        logits =
            model.run(cache, std::span(ids).subspan(first, count), end ? LogitRows::last : LogitRows::none,
                      [&](std::string_view name, std::size_t layer, ConstMatrix values) {
                        if (name == "layer" && layer + 1 == model.config.text.num_hidden_layers) {
                          rows_in_last_layer += values.rows;
                        }
                      });
      }
      CHECK(rows_in_last_layer == 1);
      REQUIRE(logits.rows() == 1);
      const std::vector<float> expected(whole.end() - static_cast<std::ptrdiff_t>(logits.cols()),
                                        whole.end());
      CHECK(same_bits(flat(logits), expected));
    }
  }
}

TEST_CASE("a sequence's logits have the same bits whoever shares the pass") {
  for (const auto& kit : golden_kits("text")) {
    for (const auto type : kAllTypes) {
      Model model(kit, type);
      // Sequences of different lengths: long chunks, a short prompt, single tokens.
      const std::vector<std::size_t> before = {0, 40, 3, 130, 17};
      const std::vector<std::size_t> rows = {90, 1, 12, 1, 33};
      std::vector<KvCache> together;
      std::vector<std::vector<TokenId>> ids;
      std::vector<MatrixBuffer> inputs;
      std::vector<float> expected;
      for (std::size_t i = 0; i < rows.size(); ++i) {
        KvCache cache = model.decoder.make_cache();
        const auto prompt = invented_ids(before[i], static_cast<std::uint32_t>(i + 7));
        if (!prompt.empty()) model.run(cache, prompt, LogitRows::none);
        together.push_back(cache.fork());
        ids.push_back(invented_ids(rows[i], static_cast<std::uint32_t>(i + 70)));
        inputs.push_back(model.embed(ids[i]));
        Model::append(expected, model.run(cache, ids[i], LogitRows::last));
      }
      std::vector<SequenceStep> steps;
      for (std::size_t i = 0; i < rows.size(); ++i) {
        steps.push_back({&together[i], std::as_const(inputs[i]).view(), ids[i], LogitRows::last});
      }
      MatrixBuffer logits;
      model.decoder.forward(steps, logits);
      CHECK(same_bits(flat(logits), expected));
    }
  }
}

TEST_CASE("logits have the same bits for any number of threads") {
  const reelfolio::test::RestoreThreads restore;
  for (const auto& kit : golden_kits("text")) {
    for (const auto type : kAllTypes) {
      Model model(kit, type);
      const auto ids = invented_ids(200);
      ops::set_num_threads(1);
      const std::vector<float> one = model.logits_in_chunks(ids, 120);
      for (const int threads : {2, 3}) {
        ops::set_num_threads(threads);
        CHECK(same_bits(model.logits_in_chunks(ids, 120), one));
      }
    }
  }
}

TEST_CASE("a forked cache continues as one that was filled on its own, and leaves the original alone") {
  for (const auto& kit : golden_kits("text")) {
    for (const auto type : kAllTypes) {
      Model model(kit, type);
      for (const std::size_t shared : {std::size_t{5}, std::size_t{64}, std::size_t{100}}) {
        const auto prefix = invented_ids(shared);
        const auto first = invented_ids(30, 11);
        const auto second = invented_ids(30, 12);
        const auto separate = [&](const std::vector<TokenId>& rest) {
          KvCache cache = model.decoder.make_cache();
          model.run(cache, prefix, LogitRows::none);
          return flat(model.run(cache, rest, LogitRows::all));
        };
        KvCache original = model.decoder.make_cache();
        model.run(original, prefix, LogitRows::none);
        KvCache branch = original.fork();
        CHECK(branch.length() == shared);
        const auto from_branch = flat(model.run(branch, first, LogitRows::all));
        const auto from_original = flat(model.run(original, second, LogitRows::all));
        CHECK(same_bits(from_branch, separate(first)));
        CHECK(same_bits(from_original, separate(second)));
      }
    }
  }
}

TEST_CASE("sliding layers keep the window, full layers everything, within the bound known beforehand") {
  Model model(golden_kits("text").front());
  KvCache cache = model.decoder.make_cache();
  const text::KvLayout& layout = model.decoder.kv_layout();
  const std::size_t chunk = 100;
  const auto ids = invented_ids(1000);
  for (std::size_t first = 0; first < ids.size(); first += chunk) {
    model.run(cache, std::span(ids).subspan(first, chunk), LogitRows::none);
    CHECK(cache.memory_bytes() <= layout.bytes_for(first + chunk, chunk));
  }
  std::size_t sliding = 0;
  std::size_t full = 0;
  for (std::size_t i = 0; i < layout.layers.size(); ++i) {
    (layout.layers[i].type == LayerType::sliding ? sliding : full) += layout.page_bytes(i);
  }
  REQUIRE(layout.sliding_window <= text::kPagePositions);
  // 1000 positions are 16 pages; a window of 16 positions meets one page or two.
  const std::size_t pages_of_window = (1000 + 1 - layout.sliding_window) / text::kPagePositions == 15 ? 1 : 2;
  CHECK(cache.memory_bytes() == 16 * full + pages_of_window * sliding);
}

TEST_CASE(
    "keys and values that a query reads: scales count, and no more than the window of a sliding layer") {
  text::KvLayout layout;
  layout.sliding_window = 100;
  layout.layers = {{LayerType::full, 2, 64}, {LayerType::sliding, 3, 32}};
  for (const auto& [type, row_64, row_32] :
       {std::tuple(text::KvType::f32, 256U, 128U), std::tuple(text::KvType::bf16, 128U, 64U),
        std::tuple(text::KvType::int8, 64U + 4U, 32U + 4U)}) {
    INFO("keys and values " << text::kv_type_name(type));
    layout.type = type;
    CHECK(layout.bytes_read(0, 0) == 0);
    CHECK(layout.bytes_read(0, 70) == 2 * 2 * row_64 * 70);
    CHECK(layout.bytes_read(0, 1000) == 2 * 2 * row_64 * 1000);
    CHECK(layout.bytes_read(1, 70) == 2 * 3 * row_32 * 70);
    CHECK(layout.bytes_read(1, 1000) == 2 * 3 * row_32 * 100);
  }
}

TEST_CASE("a full context of E4B has a known size, and is refused with the numbers where memory is short") {
  // 24 layers with keys of their own, every sixth full: two heads of 256, or 512, keys and values in bf16.
  text::KvLayout layout;
  layout.sliding_window = 512;
  layout.type = text::KvType::bf16;
  for (std::size_t i = 0; i < 24; ++i) {
    const bool full = i % 6 == 5;
    layout.layers.push_back({full ? LayerType::full : LayerType::sliding, 2, full ? 512U : 256U});
  }
  const std::uint64_t full = 4ULL * 2 * 2 * 512 * 2 * 131072;
  const std::uint64_t sliding = 20ULL * 2 * 2 * 256 * 2 * (512 + 512 + text::kPagePositions);
  CHECK(layout.bytes_for(131072, 512) == full + sliding);
  CHECK_NOTHROW(require_cache_room(layout, 131072, 512, full + sliding));
  std::string message;
  try {
    require_cache_room(layout, 131072, 512, 1'000'000'000);
  } catch (const RequestError& error) {
    message = error.what();
  }
  CHECK(message ==
        "131072 tokens of prompt and answer need " + std::to_string(full + sliding) +
            " bytes for keys and values, 1000000000 bytes of memory are available; shorten the prompt "
            "or lower max_tokens");
  CHECK(available_memory_bytes().value_or(1) > 0);
}

TEST_CASE("rounded weights stay as close to f32 as their type allows") {
  // The tiny models have layers 16 to 128 wide, where rounding errors average out far less
  // than at full size; int2 is there to run, not to be right.
  const std::pair<ops::WeightType, double> limits[] = {{ops::WeightType::bf16, 0.99},
                                                       {ops::WeightType::int8, 0.99},
                                                       {ops::WeightType::int4, 0.8},
                                                       {ops::WeightType::int2, 0.2}};
  for (const auto& kit : golden_kits("text")) {
    for (const auto& [type, limit] : limits) {
      Model exact(kit);
      Model rounded(kit, type);
      const auto ids = ids_of(GoldenTensors(kit / "golden" / "text.safetensors").get("b.input_ids"));
      const auto a = exact.logits_in_chunks(ids, ids.size());
      const auto b = rounded.logits_in_chunks(ids, ids.size());
      double ab = 0;
      double aa = 0;
      double bb = 0;
      for (std::size_t i = 0; i < a.size(); ++i) {
        ab += static_cast<double>(a[i]) * static_cast<double>(b[i]);
        aa += static_cast<double>(a[i]) * static_cast<double>(a[i]);
        bb += static_cast<double>(b[i]) * static_cast<double>(b[i]);
      }
      const double cosine = ab / std::sqrt(aa * bb);
      INFO("kit " << kit << ", " << ops::weight_type_name(type) << ", cosine of all logits " << cosine);
      CHECK(cosine > limit);
      CHECK_FALSE(same_bits(a, b));
    }
  }
}

TEST_CASE("int2 weights: the logits that come into question are exact, the rest as rounded") {
  for (const auto& kit : golden_kits("text")) {
    INFO("kit " << kit);
    Model model(kit, ops::WeightType::int2);
    const TextConfig& config = model.config.text;
    const auto ids = ids_of(GoldenTensors(kit / "golden" / "text.safetensors").get("b.input_ids"));
    KvCache cache = model.decoder.make_cache();
    MatrixBuffer hidden;
    const MatrixBuffer logits =
        model.run(cache, ids, LogitRows::all, [&](std::string_view name, std::size_t, ConstMatrix values) {
          if (name != "final_norm") return;
          hidden.resize(values.rows, values.cols);
          for (std::size_t r = 0; r < values.rows; ++r)
            std::ranges::copy(values.row(r), hidden.row(r).begin());
        });
    REQUIRE(hidden.rows() == logits.rows());
    REQUIRE(config.vocab_size > 2 * text::kExactLogits);
    std::vector<float> table(config.vocab_size * config.hidden_size);
    read_f32(model.checkpoint.require("model.language_model.embed_tokens.weight"), table);
    std::size_t exact = 0;
    std::size_t rows_led_by_exact = 0;
    for (std::size_t r = 0; r < logits.rows(); ++r) {
      for (std::size_t id = 0; id < config.vocab_size; ++id) {
        double sum = 0;
        for (std::size_t i = 0; i < config.hidden_size; ++i) {
          sum +=
              static_cast<double>(hidden.row(r)[i]) * static_cast<double>(table[id * config.hidden_size + i]);
        }
        if (config.final_logit_softcapping) {
          const double cap = *config.final_logit_softcapping;
          sum = cap * std::tanh(sum / cap);
        }
        const bool is_exact =
            std::abs(static_cast<double>(logits.row(r)[id]) - sum) < 1e-4 * (1 + std::abs(sum));
        exact += is_exact ? 1 : 0;
        if (static_cast<TokenId>(id) == likeliest(logits.row(r))) rows_led_by_exact += is_exact ? 1 : 0;
      }
    }
    // By chance a rounded logit is exact too, seldom.
    CHECK(exact >= logits.rows() * text::kExactLogits);
    CHECK(exact < logits.rows() * (text::kExactLogits + config.vocab_size / 20));
    CHECK(rows_led_by_exact > logits.rows() / 2);
  }
}

TEST_CASE("largest logits: the order is by value and then by id, and NaN is none of them") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float low = -std::numeric_limits<float>::infinity();
  using Ids = std::vector<std::size_t>;
  CHECK(text::largest_logits(std::vector<float>{1, 3, nan, 3, 2, 3}, 4) == Ids{1, 3, 5, 4});
  CHECK(text::largest_logits(std::vector<float>{1, 3, nan, 3, 2, 3}, 2) == Ids{1, 3});
  CHECK(text::largest_logits(std::vector<float>{nan, low, nan}, 3) == Ids{1});
  CHECK(text::largest_logits(std::vector<float>{5}, 0).empty());
  std::vector<float> many(5000);
  for (std::size_t i = 0; i < many.size(); ++i) many[i] = static_cast<float>(i * 7919 % 613);
  Ids all(many.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  std::ranges::stable_sort(all, [&](std::size_t a, std::size_t b) { return many[a] > many[b]; });
  all.resize(100);
  CHECK(text::largest_logits(many, 100) == all);
}

TEST_CASE("quantised weights give the same bits with every kernel of this processor") {
  struct Restore {
    ~Restore() { kernels::force_quant_kernels("auto"); }
  } restore;
  const auto kit = golden_kits("text").front();
  const auto ids = invented_ids(150);
  for (const auto type : {ops::WeightType::int8, ops::WeightType::int4, ops::WeightType::int2}) {
    Model model(kit, type);
    kernels::force_quant_kernels("ref");
    const std::vector<float> expected = model.logits_in_chunks(ids, 100);
    for (const char* name : {"avx2", "avx512"}) {
      if (!kernels::force_quant_kernels(name)) continue;
      INFO(ops::weight_type_name(type) << " " << name);
      CHECK(same_bits(model.logits_in_chunks(ids, 100), expected));
    }
  }
}

TEST_CASE("models with integer weights give the same bits with AVX2 as with AVX-512") {
  struct Restore {
    ~Restore() { kernels::force_kernels("auto"); }
  } restore;
  if (!kernels::force_kernels("avx512") || !kernels::force_kernels("avx2")) return;
  const auto kit = golden_kits("text").front();
  const auto ids = invented_ids(150);
  for (const auto type : {ops::WeightType::int8, ops::WeightType::int4, ops::WeightType::int2}) {
    const auto logits = [&](const char* names) {
      REQUIRE(kernels::force_kernels(names));
      Model model(kit, type);
      return model.logits_in_chunks(ids, 64);
    };
    INFO(ops::weight_type_name(type));
    CHECK(same_bits(logits("avx512"), logits("avx2")));
  }
}

TEST_CASE("every row kernel of this processor passes the reference comparison") {
  struct Restore {
    ~Restore() { kernels::force_row_kernels("auto"); }
  } restore;
  for (const char* name : {"ref", "avx2", "avx512"}) {
    if (!kernels::force_row_kernels(name)) continue;
    REQUIRE(std::string(kernels::row_kernels().name) == name);
    for (const auto& kit : golden_kits("text")) {
      Model model(kit);
      const GoldenTensors golden(kit / "golden" / "text.safetensors");
      const auto ids = ids_of(golden.get("b.input_ids"));
      const double difference =
          worst_difference(model.logits_in_chunks(ids, ids.size()), golden.get("b.logits").values);
      INFO("kit " << kit << ", kernels " << name << ", logits: largest difference " << difference);
      CHECK(difference <= kLogitLimit);
    }
  }
}
