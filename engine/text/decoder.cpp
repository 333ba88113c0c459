#include "engine/text/decoder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "engine/embedding_table.h"
#include "engine/ops/activation.h"
#include "engine/ops/rms_norm.h"
#include "engine/ops/rope.h"
#include "engine/text/attention.h"
#include "engine/text/exact_logits.h"
#include "engine/weights.h"

namespace reelfolio::engine::text {

namespace {

/// Where the rows of a batch come from, for attention and rope.
struct Batch {
  std::vector<QueryRun> runs;
  std::vector<KvCache*> caches;  ///< of each run
  std::vector<std::size_t> positions;
  std::vector<TokenId> ids;

  std::size_t rows() const { return positions.size(); }
};

/// Memory of a forward pass, kept for the next.
struct Workspace {
  MatrixBuffer x, late_x, hidden, branch;
  MatrixBuffer per_layer, late_per_layer, late_early_inputs;
  MatrixBuffer q, k, v, context;
  MatrixBuffer gate, up, gated;
};

float square_root(std::size_t n) {
  return static_cast<float>(std::sqrt(static_cast<double>(n)));
}

}  // namespace

struct TextDecoder::Impl {
  Impl(const ModelConfig& model, const Checkpoint& checkpoint, ops::WeightType type, KvType kv_type)
      : config(model.text),
        placeholders{model.tokens.image, model.tokens.audio, model.tokens.video},
        weights(load_text_weights(config, checkpoint, WeightPlan(type))) {
    KvLayout layout;
    layout.sliding_window = config.sliding_window;
    layout.type = kv_type;
    for (std::size_t i = 0; i < config.first_kv_shared_layer; ++i) {
      const TextLayerConfig& layer = config.layers[i];
      layout.layers.push_back({layer.type, layer.num_key_value_heads, layer.head_dim});
    }
    kv_layout = std::make_shared<const KvLayout>(std::move(layout));
    for (const TextLayerConfig& layer : config.layers) {
      const RopeConfig& rope = config.rope(layer.type);
      const double turning = rope.type == RopeConfig::Type::proportional ? rope.partial_rotary_factor : 1.0;
      ropes.push_back(ops::rope_proportional(layer.head_dim, rope.rope_theta, turning, rope.factor));
    }
  }

  /// The row of both tables that stands for an id.
  std::size_t table_row(TokenId id) const {
    const bool placeholder = std::find(placeholders.begin(), placeholders.end(), id) != placeholders.end();
    return static_cast<std::size_t>(placeholder ? config.pad_token_id : id);
  }

  /// Finished per-layer inputs of layers first .. last - 1: out [rows, (last - first) * P].
  void per_layer_inputs(const Batch& batch, ConstMatrix x, std::size_t first, std::size_t last,
                        MatrixBuffer& out, const DecoderObserver& observer);
  /// One layer over all rows of `batch`; x is changed in place. `keys_stored`: its keys and
  /// values are in the caches already.
  void layer(std::size_t index, const Batch& batch, Matrix x, ConstMatrix per_layer, bool keys_stored,
             const DecoderObserver& observer);
  /// work.q, the layer's projection, against the stored keys and values, into work.branch.
  void attention(std::size_t index, const Batch& batch, const DecoderObserver& observer);
  /// work.k and work.v, the projections of one layer for the rows of `batch`, normed into their caches.
  void store_keys_values(std::size_t index, const Batch& batch);
  /// work.k, work.v of one layer and, with `queries`, work.q.
  void project(std::size_t index, const ops::LinearInput& input, bool queries, bool keys_values);
  /// x += RMSNorm(branch; weight)
  void add_normed(ConstVector weight, Matrix x);

  const TextConfig config;
  const std::array<TokenId, 3> placeholders;
  TextWeights weights;
  std::shared_ptr<const KvLayout> kv_layout;
  std::vector<ops::RopeFrequencies> ropes;
  Workspace work;
};

void TextDecoder::Impl::per_layer_inputs(const Batch& batch, ConstMatrix x, std::size_t first,
                                         std::size_t last, MatrixBuffer& out,
                                         const DecoderObserver& observer) {
  const std::size_t size = config.hidden_size_per_layer_input;
  const std::size_t cols = (last - first) * size;
  out.resize(x.rows, cols);
  if (cols == 0) return;
  const ops::Linear& projection = first == 0 && last == config.first_kv_shared_layer
                                      ? weights.per_layer_model_projection_early.front()
                                      : weights.per_layer_model_projection_late.front();
  assert(projection.out_size() == cols);
  projection.apply(x, out.view());
  ops::scale(out.view(), 1.0F / square_root(config.hidden_size), out.view());
  ops::rms_norm_heads(out.view(), last - first, weights.per_layer_projection_norm, config.rms_norm_eps,
                      out.view());
  EmbeddingTable& table = weights.embed_tokens_per_layer;
  std::vector<std::size_t> table_rows;
  for (const TokenId id : batch.ids) table_rows.push_back(table_row(id));
  table.prepare(table_rows);
  const float token_factor = square_root(size);
  const auto half = static_cast<float>(std::sqrt(0.5));
#pragma omp parallel if (x.rows > 4)
  {
    std::vector<float> token(cols);
#pragma omp for schedule(static)
    for (std::size_t r = 0; r < x.rows; ++r) {
      table.read(table_rows[r], first * size, token);
      const Vector row = out.row(r);
      for (std::size_t c = 0; c < cols; ++c) row[c] = (row[c] + token[c] * token_factor) * half;
    }
  }
  if (observer) {
    for (std::size_t i = first; i < last; ++i) {
      observer("per_layer_inputs", i, std::as_const(out).view().col_block((i - first) * size, size));
    }
  }
}

void TextDecoder::Impl::project(std::size_t index, const ops::LinearInput& input, bool queries,
                                bool keys_values) {
  const TextLayerConfig& shape = config.layers[index];
  const TextLayerWeights& w = weights.layers[index];
  const std::size_t rows = input.values().rows;
  std::array<ops::LinearOutput, 3> outputs;
  std::size_t count = 0;
  if (queries) {
    work.q.resize(rows, config.num_attention_heads * shape.head_dim);
    outputs[count++] = {&w.q_proj(), work.q.view()};
  }
  if (keys_values) {
    work.k.resize(rows, shape.num_key_value_heads * shape.head_dim);
    work.v.resize(rows, shape.num_key_value_heads * shape.head_dim);
    outputs[count++] = {&w.k_proj(), work.k.view()};
    outputs[count++] = {&w.v_proj(), work.v.view()};
  }
  ops::apply_together(input, std::span(outputs).first(count));
}

void TextDecoder::Impl::store_keys_values(std::size_t index, const Batch& batch) {
  const TextLayerWeights& layer_weights = weights.layers[index];
  const std::size_t heads = config.layers[index].num_key_value_heads;
  ops::rms_norm_heads(work.k.view(), heads, layer_weights.k_norm, config.rms_norm_eps, work.k.view());
  ops::rope_heads(work.k.view(), heads, ropes[index], batch.positions);
  ops::rms_norm_heads(work.v.view(), heads, {}, config.rms_norm_eps, work.v.view());
  for (std::size_t i = 0; i < batch.runs.size(); ++i) {
    const QueryRun& run = batch.runs[i];
#pragma omp parallel for schedule(static) if (run.rows > 16)
    for (std::size_t r = 0; r < run.rows; ++r) {
      batch.caches[i]->store(index, run.first_position + r, work.k.row(run.first_row + r),
                             work.v.row(run.first_row + r));
    }
  }
}

void TextDecoder::Impl::attention(std::size_t index, const Batch& batch, const DecoderObserver& observer) {
  const TextLayerConfig& shape = config.layers[index];
  const TextLayerWeights& layer_weights = weights.layers[index];
  const std::size_t rows = work.q.rows();
  ops::rms_norm_heads(work.q.view(), config.num_attention_heads, layer_weights.q_norm, config.rms_norm_eps,
                      work.q.view());
  ops::rope_heads(work.q.view(), config.num_attention_heads, ropes[index], batch.positions);
  work.context.resize(rows, work.q.cols());
  attend(batch.runs, std::as_const(work.q).view(), config.num_attention_heads, shape.kv_layer,
         shape.type == LayerType::sliding ? config.sliding_window : 0, work.context.view());
  if (observer) observer("attn_context", index, std::as_const(work.context).view());
  layer_weights.o_proj().apply(std::as_const(work.context).view(), work.branch.view());
}

void TextDecoder::Impl::add_normed(ConstVector weight, Matrix x) {
  ops::rms_norm(std::as_const(work.branch).view(), weight, config.rms_norm_eps, work.branch.view());
  ops::add(x, std::as_const(work.branch).view(), x);
}

void TextDecoder::Impl::layer(std::size_t index, const Batch& batch, Matrix x, ConstMatrix per_layer,
                              bool keys_stored, const DecoderObserver& observer) {
  const TextLayerWeights& w = weights.layers[index];
  const float eps = config.rms_norm_eps;
  work.hidden.resize(x.rows, x.cols);
  work.branch.resize(x.rows, x.cols);

  ops::rms_norm(x, w.input_layernorm, eps, work.hidden.view());
  {
    const ops::LinearInput input(std::as_const(work.hidden).view());
    const bool keys_values = w.own_kv && !keys_stored;
    project(index, input, true, keys_values);
    if (keys_values) store_keys_values(index, batch);
    attention(index, batch, observer);
  }
  add_normed(w.post_attention_layernorm, x);

  ops::rms_norm(x, w.pre_feedforward_layernorm, eps, work.hidden.view());
  const ops::LinearInput h(std::as_const(work.hidden).view());
  const std::size_t width = config.layers[index].intermediate_size;
  work.gate.resize(x.rows, width);
  work.up.resize(x.rows, width);
  ops::apply_together(h, std::array{ops::LinearOutput{&w.gate_proj(), work.gate.view()},
                                    ops::LinearOutput{&w.up_proj(), work.up.view()}});
  ops::gelu_tanh_mul(std::as_const(work.gate).view(), std::as_const(work.up).view(), work.gate.view());
  w.down_proj().apply(std::as_const(work.gate).view(), work.branch.view());
  add_normed(w.post_feedforward_layernorm, x);

  work.gated.resize(x.rows, config.hidden_size_per_layer_input);
  w.per_layer_input_gate().apply(x, work.gated.view());
  ops::gelu_tanh_mul(std::as_const(work.gated).view(), per_layer, work.gated.view());
  w.per_layer_projection().apply(std::as_const(work.gated).view(), work.branch.view());
  add_normed(w.post_per_layer_input_norm, x);

  ops::scale(x, w.layer_scalar, x);
  if (observer) observer("layer", index, x);
}

TextDecoder::TextDecoder(const ModelConfig& config, const Checkpoint& checkpoint, ops::WeightType type,
                         KvType kv_type)
    : impl_(std::make_unique<Impl>(config, checkpoint, type, kv_type)) {}
TextDecoder::TextDecoder(const ModelConfig& config, const Checkpoint& checkpoint, ops::WeightType type)
    : TextDecoder(config, checkpoint, type, default_kv_type(type)) {}
TextDecoder::TextDecoder(TextDecoder&&) noexcept = default;
TextDecoder& TextDecoder::operator=(TextDecoder&&) noexcept = default;
TextDecoder::~TextDecoder() = default;

KvCache TextDecoder::make_cache() const {
  return KvCache(impl_->kv_layout);
}
const KvLayout& TextDecoder::kv_layout() const {
  return *impl_->kv_layout;
}
std::size_t TextDecoder::memory_bytes() const {
  return impl_->weights.memory_bytes();
}

void TextDecoder::embed(std::span<const TokenId> ids, Matrix out) const {
  assert(out.rows == ids.size() && out.cols == impl_->config.hidden_size);
  EmbeddingTable& table = impl_->weights.embed_tokens;
  const float factor = square_root(impl_->config.hidden_size);
  std::vector<std::size_t> rows;
  for (const TokenId id : ids) rows.push_back(impl_->table_row(id));
  table.prepare(rows);
  for (std::size_t r = 0; r < ids.size(); ++r) {
    table.read(rows[r], 0, out.row(r));
    for (float& value : out.row(r)) value *= factor;
  }
}

void TextDecoder::forward(std::span<const SequenceStep> steps, MatrixBuffer& logits,
                          const DecoderObserver& observer) {
  Impl& impl = *impl_;
  Workspace& work = impl.work;
  const TextConfig& config = impl.config;
  const std::size_t hidden = config.hidden_size;
  const std::size_t per_layer_size = config.hidden_size_per_layer_input;
  const std::size_t shared_from = config.first_kv_shared_layer;

  Batch batch;
  Batch late;  // the rows that run all layers
  std::vector<std::size_t> late_rows;
  for (const SequenceStep& step : steps) {
    assert(step.inputs.rows == step.ids.size() && step.inputs.rows > 0 && step.inputs.cols == hidden);
    const std::size_t rows = step.inputs.rows;
    const std::size_t start = step.cache->length();
    step.cache->reserve(rows);
    const std::size_t first_row = batch.rows();
    batch.runs.push_back({step.cache, first_row, rows, start});
    batch.caches.push_back(step.cache);
    for (std::size_t r = 0; r < rows; ++r) batch.positions.push_back(start + r);
    batch.ids.insert(batch.ids.end(), step.ids.begin(), step.ids.end());

    const std::size_t wanted = step.logits == LogitRows::all ? rows : step.logits == LogitRows::last ? 1 : 0;
    if (wanted == 0) continue;
    late.runs.push_back({step.cache, late.rows(), wanted, start + rows - wanted});
    late.caches.push_back(step.cache);
    for (std::size_t r = rows - wanted; r < rows; ++r) {
      late.positions.push_back(start + r);
      late.ids.push_back(step.ids[r]);
      late_rows.push_back(first_row + r);
    }
  }

  work.x.resize(batch.rows(), hidden);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    for (std::size_t r = 0; r < steps[i].inputs.rows; ++r) {
      const auto source = steps[i].inputs.row(r);
      std::copy(source.begin(), source.end(), work.x.row(batch.runs[i].first_row + r).begin());
    }
  }
  // Both parts of the per-layer inputs come from the rows that enter layer 0.
  work.late_x.resize(late.rows(), hidden);
  const auto gather_late = [&] {
    for (std::size_t r = 0; r < late_rows.size(); ++r) {
      const auto source = work.x.row(late_rows[r]);
      std::copy(source.begin(), source.end(), work.late_x.row(r).begin());
    }
  };
  impl.per_layer_inputs(batch, std::as_const(work.x).view(), 0, shared_from, work.per_layer, observer);
  if (late.rows() > 0) {
    gather_late();
    impl.per_layer_inputs(late, std::as_const(work.late_x).view(), shared_from, config.num_hidden_layers,
                          work.late_per_layer, observer);
  }

  const auto early_inputs = [&](std::size_t i) {
    return std::as_const(work.per_layer).view().col_block(i * per_layer_size, per_layer_size);
  };
  // Of the last layer with keys of its own, rows without logits give just those: what else
  // the layer would make of them nobody reads.
  const std::size_t whole_layers = late.rows() < batch.rows() ? shared_from - 1 : shared_from;
  for (std::size_t i = 0; i < whole_layers; ++i) {
    impl.layer(i, batch, work.x.view(), early_inputs(i), false, observer);
  }
  if (whole_layers < shared_from) {
    work.hidden.resize(batch.rows(), hidden);
    ops::rms_norm(std::as_const(work.x).view(), impl.weights.layers[whole_layers].input_layernorm,
                  config.rms_norm_eps, work.hidden.view());
    impl.project(whole_layers, ops::LinearInput(std::as_const(work.hidden).view()), false, true);
    impl.store_keys_values(whole_layers, batch);
  }
  logits.resize(late.rows(), config.vocab_size);
  if (late.rows() > 0) {
    gather_late();
    if (whole_layers < shared_from) {
      work.late_early_inputs.resize(late.rows(), per_layer_size);
      for (std::size_t r = 0; r < late_rows.size(); ++r) {
        const auto source = early_inputs(whole_layers).row(late_rows[r]);
        std::copy(source.begin(), source.end(), work.late_early_inputs.row(r).begin());
      }
      impl.layer(whole_layers, late, work.late_x.view(), std::as_const(work.late_early_inputs).view(), true,
                 observer);
    }
    for (std::size_t i = shared_from; i < config.num_hidden_layers; ++i) {
      const std::size_t column = (i - shared_from) * per_layer_size;
      impl.layer(i, late, work.late_x.view(),
                 std::as_const(work.late_per_layer).view().col_block(column, per_layer_size), false,
                 observer);
    }
    work.hidden.resize(late.rows(), hidden);
    ops::rms_norm(std::as_const(work.late_x).view(), impl.weights.norm, config.rms_norm_eps,
                  work.hidden.view());
    if (observer) observer("final_norm", 0, std::as_const(work.hidden).view());
    impl.weights.head.apply(std::as_const(work.hidden).view(), logits.view());
    if (impl.weights.has_coarse_head()) {
      make_largest_exact(impl.weights.embed_tokens, std::as_const(work.hidden).view(), logits.view());
    }
    if (config.final_logit_softcapping) {
      ops::soft_cap(std::as_const(logits).view(), *config.final_logit_softcapping, logits.view());
    }
  }
  for (const SequenceStep& step : steps) step.cache->commit(step.inputs.rows);
}

}  // namespace reelfolio::engine::text
