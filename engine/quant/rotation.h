#pragma once

#include <cstddef>
#include <span>

/// Blockwise random Hadamard rotation of a linear layer's inputs.
///
/// A product x W^T does not change when x and every row of W are multiplied by the same
/// orthogonal matrix. R = D H, with D a diagonal of fixed pseudo-random signs and H the
/// normalised Walsh-Hadamard matrix, spreads a few huge channels over the whole block, so
/// that one scale for a token (int8 activations) or a group (4- and 2-bit weights) fits all
/// of its numbers, and makes them nearly normally distributed, which the codebooks assume.
namespace reelfolio::engine::quant {

/// Block length for inputs of length n: the largest power of two that divides n, at most 256.
/// 1 means that n is odd and rotation does nothing.
std::size_t rotation_block(std::size_t n);

/// The fixed signs of a block; shorter blocks take the first of them.
std::span<const float> rotation_signs();

/// Rotates one row in place, block by block. Weights (when packed) and activations (when
/// quantised) both go through this one function. Sums in f32 in a fixed order: the same row
/// gives the same bits on every machine. Throws nothing.
void rotate_row(std::span<float> row);

/// The inverse, to rounding error.
void unrotate_row(std::span<float> row);

}  // namespace reelfolio::engine::quant
