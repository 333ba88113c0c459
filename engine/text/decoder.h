#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string_view>

#include "engine/config.h"
#include "engine/ops/matmul.h"
#include "engine/safetensors.h"
#include "engine/tensor.h"
#include "engine/text/kv_cache.h"
#include "engine/token_id.h"

namespace reelfolio::engine::text {

/// Receives intermediate results, for tests: "per_layer_inputs" (layer: the layer they
/// belong to), "attn_context", "layer" and "final_norm" (layer 0), each [rows, *] for the
/// rows that pass through there. The matrix is borrowed for the call.
using DecoderObserver = std::function<void(std::string_view name, std::size_t layer, ConstMatrix values)>;

/// Which rows of a step's input get logits.
enum class LogitRows {
  none,  ///< a prompt's chunk but the last: only keys and values are wanted
  last,  ///< its last chunk, or a decode step
  all,
};

/// What one sequence contributes to a forward pass: a chunk of its prompt or one token.
struct SequenceStep {
  KvCache* cache = nullptr;  ///< grows by inputs.rows; no cache twice in a pass
  ConstMatrix inputs;  ///< [rows, hidden_size], rows >= 1: scaled embeddings, or soft tokens as they are
  /// [rows] ids for the per-layer table; a placeholder where a soft token stands.
  std::span<const TokenId> ids;
  LogitRows logits = LogitRows::last;
};

/// The text decoder of gemma4.md, section 4.
///
/// Owns its weights and scratch memory; reads the embedding tables from the checkpoint,
/// which must outlive it. One thread at a time; works on the OpenMP threads of the caller.
///
/// The placeholders of pictures, sound and video look up pad_token_id in both tables, also
/// where the model itself generates one.
///
/// Positions without logits pass through the layers below first_kv_shared_layer only, and of
/// the last of those give just their keys and values: the rest write none, so nothing else can
/// see the difference.
///
/// All of the decoder's own operations treat rows one by one in a fixed order. Whether a
/// row's bits are free of the batch and of the thread count is therefore decided by
/// ops::Linear; see there.
class TextDecoder {
 public:
  /// Throws ModelError for tensors that are missing or of the wrong shape.
  TextDecoder(const ModelConfig& config, const Checkpoint& checkpoint, ops::WeightType type, KvType kv_type);
  /// With default_kv_type(type).
  TextDecoder(const ModelConfig& config, const Checkpoint& checkpoint, ops::WeightType type);
  TextDecoder(TextDecoder&&) noexcept;
  TextDecoder& operator=(TextDecoder&&) noexcept;
  ~TextDecoder();

  KvCache make_cache() const;
  const KvLayout& kv_layout() const;

  /// out [ids.size(), hidden_size]: rows of the table times sqrt(hidden_size). Ids are
  /// below vocab_size. Throws ModelError, as `forward` does, where a packed model's row is damaged.
  void embed(std::span<const TokenId> ids, Matrix out) const;

  /// Runs one pass over all steps together. `logits` becomes [wanted rows, vocab_size],
  /// soft-capped, in the order of the steps. With int2 weights the largest of a row are exact products of
  /// the embedding's rows, the rest are rounded to 2 bits (exact_logits.h).
  void forward(std::span<const SequenceStep> steps, MatrixBuffer& logits,
               const DecoderObserver& observer = {});

  /// Bytes of weights held in memory.
  std::size_t memory_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace reelfolio::engine::text
