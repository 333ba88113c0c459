#pragma once

#include <cstddef>
#include <vector>

#include "engine/embedding_table.h"
#include "engine/tensor.h"

/// What makes up for a head of 2 bits: it finds the tokens that come into question, and the tied embedding's
/// own rows, which lie in the checkpoint for look-ups anyway, say how likely each of them is.
namespace reelfolio::engine::text {

/// Tokens a row that are looked at again. Rounding to 2 bits moves a logit by a few percent of the largest:
/// the first of all is among these as good as always.
inline constexpr std::size_t kExactLogits = 32;

/// Ids of the `count` largest logits, all where there are fewer, by descending logit; of equal ones those
/// with the lower ids. NaN is none of them.
std::vector<std::size_t> largest_logits(ConstVector logits, std::size_t count);

/// In each row of `logits` [rows, vocab], the kExactLogits largest become the products of the row of `hidden`
/// [rows, hidden_size] with the table's rows, summed in f32 in a fixed order. Throws ModelError where a
/// packed model's row is damaged.
void make_largest_exact(EmbeddingTable& table, ConstMatrix hidden, Matrix logits);

}  // namespace reelfolio::engine::text
