#include <algorithm>
#include <cmath>
#include <filesystem>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "engine/ops/matmul.h"
#include "engine/text/attention.h"
#include "engine/text/decoder.h"
#include "tests/engine/invariance.h"
#include "tests/support/catch.h"
#include "tests/support/golden_kit.h"

namespace {

using namespace reelfolio::engine;
using reelfolio::test::golden_kits;
using reelfolio::test::same_bits;
using text::KvCache;
using text::KvType;
using text::LogitRows;
using text::SequenceStep;

struct LoadedKit {
  LoadedKit(const std::filesystem::path& kit, ops::WeightType weights, KvType kv)
      : config(load_model_config(kit / "model")),
        checkpoint(Checkpoint::open(kit / "model")),
        decoder(config, checkpoint, weights, kv) {}

  ModelConfig config;
  Checkpoint checkpoint;
  text::TextDecoder decoder;
};

/// A sequence whose tokens are given; its logits, one row for each position, are what is compared.
struct GivenSequence {
  std::vector<TokenId> ids;
  std::size_t done = 0;
  KvCache cache;
  std::vector<float> logits;
};

using RandomBits = std::mt19937;

std::size_t random_below(RandomBits& random, std::size_t bound) {
  return random() % bound;
}

GivenSequence random_sequence(LoadedKit& kit, RandomBits& random) {
  // About the window, pages of 64 positions, and well beyond both.
  const std::size_t lengths[] = {1, 15, 16, 17, 63, 64, 65, 150};
  GivenSequence sequence{{}, 0, kit.decoder.make_cache(), {}};
  sequence.ids.resize(lengths[random_below(random, std::size(lengths))] + random_below(random, 5));
  for (TokenId& id : sequence.ids) id = static_cast<TokenId>(28 + random_below(random, 680));
  return sequence;
}

/// One pass: the next rows[i] tokens of sequence i, none where that is 0.
void pass(LoadedKit& kit, std::span<GivenSequence> sequences, std::span<const std::size_t> rows) {
  std::vector<MatrixBuffer> inputs(sequences.size());
  std::vector<SequenceStep> steps;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    if (rows[i] == 0) continue;
    GivenSequence& sequence = sequences[i];
    const auto ids = std::span(sequence.ids).subspan(sequence.done, rows[i]);
    inputs[i].resize(rows[i], kit.config.text.hidden_size);
    kit.decoder.embed(ids, inputs[i].view());
    steps.push_back({&sequence.cache, std::as_const(inputs[i]).view(), ids, LogitRows::all});
  }
  MatrixBuffer logits;
  kit.decoder.forward(steps, logits);
  std::size_t row = 0;
  for (std::size_t i = 0; i < sequences.size(); ++i) {
    for (std::size_t r = 0; r < rows[i]; ++r, ++row) {
      const auto values = std::as_const(logits).row(row);
      sequences[i].logits.insert(sequences[i].logits.end(), values.begin(), values.end());
    }
    sequences[i].done += rows[i];
  }
}

/// Random company, chunks, order and, between passes, numbers of threads against each sequence alone, in one
/// piece, on one thread.
void check_schedules(LoadedKit& kit, RandomBits& random, int trials) {
  const reelfolio::test::RestoreThreads restore;
  for (int trial = 0; trial < trials; ++trial) {
    std::vector<GivenSequence> sequences;
    for (std::size_t count = 2 + random_below(random, 5); count > 0; --count) {
      sequences.push_back(random_sequence(kit, random));
    }
    std::vector<std::vector<float>> alone;
    ops::set_num_threads(1);
    for (const GivenSequence& sequence : sequences) {
      GivenSequence copy{sequence.ids, 0, kit.decoder.make_cache(), {}};
      const std::size_t all = copy.ids.size();
      pass(kit, {&copy, 1}, {&all, 1});
      alone.push_back(std::move(copy.logits));
    }
    while (std::any_of(sequences.begin(), sequences.end(),
                       [](const GivenSequence& s) { return s.done < s.ids.size(); })) {
      std::vector<std::size_t> rows;
      std::size_t total = 0;
      for (const GivenSequence& sequence : sequences) {
        const std::size_t left = sequence.ids.size() - sequence.done;
        // Often one token, as decoding does; sometimes none, as those that wait.
        const std::size_t kind = random_below(random, 4);
        const std::size_t count = kind == 0 ? 0 : kind == 1 ? 1 : 1 + random_below(random, 90);
        rows.push_back(std::min(left, count));
        total += rows.back();
      }
      if (total == 0) continue;
      ops::set_num_threads(1 + static_cast<int>(random_below(random, 4)));
      pass(kit, sequences, rows);
    }
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      INFO("trial " << trial << ", sequence " << i << " of " << sequences.size() << ", "
                    << sequences[i].ids.size() << " positions");
      CHECK(same_bits(sequences[i].logits, alone[i]));
    }
  }
}

/// Kullback-Leibler divergence of the second from the first, mean over rows, in nats.
double mean_divergence(const std::vector<float>& exact, const std::vector<float>& rounded,
                       std::size_t columns) {
  double total = 0;
  for (std::size_t first = 0; first < exact.size(); first += columns) {
    const auto normaliser = [first, columns](const std::vector<float>& logits) {
      double sum = 0;
      for (std::size_t i = first; i < first + columns; ++i) sum += std::exp(static_cast<double>(logits[i]));
      return std::log(sum);
    };
    const double exact_norm = normaliser(exact);
    const double rounded_norm = normaliser(rounded);
    for (std::size_t i = first; i < first + columns; ++i) {
      const double p = static_cast<double>(exact[i]) - exact_norm;
      total += std::exp(p) * (p - (static_cast<double>(rounded[i]) - rounded_norm));
    }
  }
  return total / (static_cast<double>(exact.size()) / static_cast<double>(columns));
}

std::vector<float> all_logits(LoadedKit& kit, const std::vector<TokenId>& ids) {
  GivenSequence sequence{ids, 0, kit.decoder.make_cache(), {}};
  const std::size_t all = ids.size();
  pass(kit, {&sequence, 1}, {&all, 1});
  return std::move(sequence.logits);
}

}  // namespace

TEST_CASE("invariance: random company, chunks and threads leave every bit of the logits") {
  RandomBits random(20240229);
  for (const auto& kit : golden_kits("text")) {
    for (const auto weights : {ops::WeightType::int8, ops::WeightType::int4, ops::WeightType::int2,
                               ops::WeightType::bf16, ops::WeightType::f32}) {
      for (const auto kv : {KvType::bf16, KvType::int8}) {
        INFO("kit " << kit << ", weights " << ops::weight_type_name(weights) << ", keys and values "
                    << text::kv_type_name(kv));
        LoadedKit loaded(kit, weights, kv);
        check_schedules(loaded, random, 3);
      }
    }
  }
}

TEST_CASE("keys and values in bf16 and int8 change what the model says by less than rounded weights do") {
  for (const auto& kit : golden_kits("text")) {
    RandomBits random(5);
    std::vector<TokenId> ids(300);
    for (TokenId& id : ids) id = static_cast<TokenId>(28 + random_below(random, 680));
    LoadedKit exact(kit, ops::WeightType::f32, KvType::f32);
    const auto expected = all_logits(exact, ids);
    const std::size_t columns = expected.size() / ids.size();
    const auto divergence = [&](ops::WeightType weights, KvType kv) {
      LoadedKit rounded(kit, weights, kv);
      return mean_divergence(expected, all_logits(rounded, ids), columns);
    };
    const double bf16 = divergence(ops::WeightType::f32, KvType::bf16);
    const double int8 = divergence(ops::WeightType::f32, KvType::int8);
    const double weights = divergence(ops::WeightType::int8, KvType::f32);
    const double both = divergence(ops::WeightType::int8, KvType::int8);
    INFO("kit " << kit << ": divergence in nats, keys and values bf16 " << bf16 << ", int8 " << int8
                << "; int8 weights " << weights << ", with int8 keys and values " << both);
    CHECK(bf16 >= 0);
    CHECK(bf16 < int8);
    CHECK(int8 < weights);
    CHECK(both < 3 * weights);
  }
}

TEST_CASE("int8 keys and values: a page's bytes hold integers and scales, and half a step is the error") {
  text::KvLayout layout;
  layout.sliding_window = 512;
  layout.type = KvType::int8;
  layout.layers.push_back({LayerType::full, 2, 512U});
  CHECK(layout.page_bytes(0) == 2 * 2 * text::kPagePositions * (512 + 4));
  KvCache cache(std::make_shared<const text::KvLayout>(layout));
  cache.reserve(70);
  RandomBits random(9);
  std::vector<std::vector<float>> keys, values;
  for (std::size_t p = 0; p < 70; ++p) {
    for (auto* rows : {&keys, &values}) {
      std::vector<float> row(2 * 512);
      for (float& x : row) x = (static_cast<float>(random_below(random, 2001)) - 1000.0F) * 1e-3F;
      row[p] *= 1000;  // an outlier costs its own position and head
      rows->push_back(row);
    }
    cache.store(0, p, keys.back(), values.back());
  }
  cache.commit(70);
  std::vector<float> scratch(text::kPagePositions * 512);
  for (std::size_t head = 0; head < 2; ++head) {
    for (std::size_t page = 0; page < 2; ++page) {
      const std::size_t positions = page == 0 ? 64 : 6;
      for (const bool is_key : {true, false}) {
        const float* stored = is_key ? cache.keys(0, page, head, positions, scratch.data())
                                     : cache.values(0, page, head, positions, scratch.data());
        for (std::size_t p = 0; p < positions; ++p) {
          const float* given = (is_key ? keys : values)[page * 64 + p].data() + head * 512;
          float largest = 0;
          float worst = 0;
          for (std::size_t i = 0; i < 512; ++i) {
            largest = std::max(largest, std::abs(given[i]));
            worst = std::max(worst, std::abs(given[i] - stored[p * 512 + i]));
          }
          CHECK(worst <= largest / 127 * 0.5001F);
        }
      }
    }
  }
}

TEST_CASE(
    "long context: at 131,072 positions a far key is found in full layers and out of sight in sliding ones") {
  constexpr std::size_t kPositions = 131072;
  constexpr std::size_t kNeedle = 1234;
  constexpr std::size_t kDim = 16;
  RandomBits random(11);
  const auto number = [&random] {
    return (static_cast<float>(random_below(random, 2001)) - 1000.0F) * 1e-3F;
  };
  for (const KvType type : {KvType::f32, KvType::bf16, KvType::int8}) {
    INFO("keys and values " << text::kv_type_name(type));
    text::KvLayout layout;
    layout.sliding_window = 512;
    layout.type = type;
    layout.layers = {{LayerType::full, 1, kDim}, {LayerType::sliding, 1, kDim}};
    KvCache cache(std::make_shared<const text::KvLayout>(layout));
    MatrixBuffer q(1, kDim);
    for (float& value : q.row(0)) value = number();
    std::vector<float> needle_value;
    std::size_t done = 0;
    while (done < kPositions) {
      const std::size_t count = std::min<std::size_t>(512, kPositions - done);
      cache.reserve(count);
      CHECK(cache.memory_bytes() <= layout.bytes_for(done + count, 512));
      for (std::size_t p = done; p < done + count; ++p) {
        std::vector<float> key(kDim), value(kDim);
        for (float& x : value) x = number();
        for (std::size_t i = 0; i < kDim; ++i) key[i] = p == kNeedle ? 30.0F * q.row(0)[i] : 0.01F * number();
        if (p == kNeedle) needle_value = value;
        for (std::size_t layer = 0; layer < 2; ++layer) cache.store(layer, p, key, value);
      }
      if (done + count == kPositions) break;  // the last ones are this pass's own
      cache.commit(count);
      done += count;
    }
    const text::QueryRun run{&cache, 0, 1, kPositions - 1};
    MatrixBuffer full(1, kDim), sliding(1, kDim);
    text::attend({&run, 1}, std::as_const(q).view(), 1, 0, 0, full.view());
    text::attend({&run, 1}, std::as_const(q).view(), 1, 1, layout.sliding_window, sliding.view());
    float worst = 0;
    float distance = 0;
    for (std::size_t i = 0; i < kDim; ++i) {
      worst = std::max(worst, std::abs(full.row(0)[i] - needle_value[i]));
      distance = std::max(distance, std::abs(sliding.row(0)[i] - needle_value[i]));
    }
    INFO("greatest difference from the far value " << worst << ", of the sliding layer " << distance);
    // Half a step of int8 is 0.004, and so many other keys weigh e^-90 each or so.
    CHECK(worst < 0.01F);
    CHECK(distance > 0.1F);
    cache.commit(kPositions - done);
    CHECK(cache.length() == kPositions);
    CHECK(cache.memory_bytes() <= layout.bytes_for(kPositions, 512));
    CHECK(cache.memory_bytes() >= kPositions * kDim * 2 *
                                      (type == KvType::f32    ? 4
                                       : type == KvType::bf16 ? 2
                                                              : 1));
  }
}

TEST_CASE("long context: a small model goes on behind 131,069 positions, in one piece as in several") {
  for (const auto& path : golden_kits("text")) {
    LoadedKit kit(path, ops::WeightType::int8, KvType::int8);
    KvCache filled = kit.decoder.make_cache();
    const text::KvLayout& layout = kit.decoder.kv_layout();
    RandomBits random(3);
    constexpr std::size_t kBefore = 131069;
    for (std::size_t done = 0; done < kBefore;) {
      const std::size_t count = std::min<std::size_t>(512, kBefore - done);
      filled.reserve(count);
      std::vector<float> key, value;
      for (std::size_t layer = 0; layer < layout.layers.size(); ++layer) {
        key.resize(layout.layers[layer].num_kv_heads * layout.layers[layer].head_dim);
        value.resize(key.size());
        for (std::size_t p = done; p < done + count; ++p) {
          for (std::size_t i = 0; i < key.size(); ++i) {
            key[i] = static_cast<float>((p * 31 + i * 7) % 41) * 0.05F - 1.0F;
            value[i] = static_cast<float>((p * 17 + i * 5) % 37) * 0.05F - 0.9F;
          }
          filled.store(layer, p, key, value);
        }
      }
      filled.commit(count);
      done += count;
    }
    std::vector<std::vector<float>> results;
    for (const std::vector<std::size_t>& pieces : {std::vector<std::size_t>{3}, {1, 2}, {1, 1, 1}}) {
      GivenSequence sequence{{30, 31, 32}, 0, filled.fork(), {}};
      for (const std::size_t rows : pieces) pass(kit, {&sequence, 1}, {&rows, 1});
      CHECK(sequence.cache.length() == 131072);
      CHECK(std::all_of(sequence.logits.begin(), sequence.logits.end(),
                        [](float x) { return std::isfinite(x); }));
      results.push_back(std::move(sequence.logits));
    }
    CHECK(same_bits(results[0], results[1]));
    CHECK(same_bits(results[0], results[2]));
  }
}
