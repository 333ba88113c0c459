#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "engine/ops/matmul.h"

/// Unmasked attention of one head: out[s] = sum_t softmax_t(q[s] . k[t]) v[t].
///
/// Keys and values are packed once, in blocks of kKeyBlock keys; then every block of
/// queries streams over them with a running maximum (Milakov & Gimelshein 2018), so that
/// scores never exist beyond one block. All keys of a row meet in the same order, whoever
/// computes it and whatever rows stand beside it: a row's bits depend on q[s], k and v alone.
/// `ops::attention` drives these functions; tests call them through it.
namespace reelfolio::engine::kernels {

inline constexpr std::size_t kKeyBlock = 64;
inline constexpr std::size_t kQueryBlock = 48;
/// Shorter heads are padded with zeros to this length.
inline constexpr std::size_t kAttentionHeadDim = 64;

/// Rows of one head inside matrices of all heads: element d of row r is data[r * stride + d].
struct HeadRows {
  const float* data;
  std::size_t stride;
};

struct AttentionKernel {
  std::string_view name;
  /// bf16: queries, keys, values and probabilities are rounded to bf16; sums and the
  /// softmax are f32. f32: everything is. int8: see attention_int8.inc.
  ops::WeightType type;
  /// Bytes of one packed block of keys or of values, a multiple of 64.
  std::size_t block_bytes;
  /// Packs `count` <= kKeyBlock rows of keys (values) to `packed`, 64-byte aligned; rows
  /// and elements past the end become zero.
  void (*pack_keys)(HeadRows keys, std::size_t count, std::size_t head_dim, std::byte* packed);
  void (*pack_values)(HeadRows values, std::size_t count, std::size_t head_dim, std::byte* packed);
  /// `rows` <= kQueryBlock queries against `num_keys` packed keys and values, whose blocks
  /// follow each other; out rows are `out_stride` apart.
  void (*attend)(HeadRows queries, std::size_t rows, std::size_t head_dim, const std::byte* keys,
                 const std::byte* values, std::size_t num_keys, float* out, std::size_t out_stride);
};

/// The floating-point kernels of this build that the processor runs, best first; "ref" last.
std::vector<const AttentionKernel*> attention_kernels();

/// Those of type int8, which all give the same bits; "int8_ref" last.
std::vector<const AttentionKernel*> int8_attention_kernels();

/// The best kernel for a model with weights of `type`: an int8 kernel for integers (that of
/// quant_kernels() in use), a bf16 or f32 one for bf16, an f32 kernel for f32. Where force_row_kernels chose
/// a table, none beyond that table's instructions.
const AttentionKernel& best_attention_kernel(ops::WeightType type);

}  // namespace reelfolio::engine::kernels
