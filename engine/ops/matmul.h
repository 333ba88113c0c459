#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "engine/ops/linear_input.h"
#include "engine/quant/packed_matrix.h"
#include "engine/tensor.h"

/// The one place that knows oneDNN, whose 2.x and 3.x interfaces differ.
///
/// All functions here run on the OpenMP threads of the calling thread
/// (`set_num_threads`), call oneDNN, and may be called from one thread at a time.
namespace reelfolio::engine::ops {

/// How a linear layer keeps its weights and computes.
///   f32   f32 weights, f32 products
///   bf16  bf16 weights; activations rounded to bf16, products summed in f32.
///   int8, int4, int2
///         integers with scales (engine/quant); activations rounded to int8, one scale a row;
///         exact integer sums.
enum class WeightType { f32, bf16, int8, int4, int2 };

/// "f32", "bf16", "int8", ...: the words of --weights.
std::string_view weight_type_name(WeightType type);
std::optional<WeightType> find_weight_type(std::string_view name);
/// The format of packed weights of a type, which is not f32.
quant::Format packed_format(WeightType type);
constexpr bool is_quantized(WeightType type) {
  return type != WeightType::f32 && type != WeightType::bf16;
}

/// How f32 and bf16 layers add: as oneDNN does where it is fastest, or one input after the other, which
/// gives the same bits with all kernels that fuse multiplication and addition (avx512, avx2).
enum class Sums { fastest, in_order };

/// y = x W^T for a fixed W [out, in], kept in the memory layout that oneDNN picks for it, or
/// in that of kernels/panel_matmul.h where oneDNN has no AVX-512 kernel or other row kernels
/// than "avx512" are in use at construction. Packed weights (quant/packed_matrix.h) stay as they are.
///
/// Owns its copy of the weights, or shares packed ones. Immutable after construction apart from a cache
/// of compiled primitives, one per number of rows (rounded up, see the .cpp).
/// A row's bits depend neither on the number of threads nor on the other rows.
class Linear {
 public:
  /// weights: `bytes` holds out*in elements of `dtype` (f32, f16 or bf16), row-major
  /// [out, in]; borrowed for the call, any alignment.
  Linear(std::span<const std::byte> bytes, DType dtype, std::size_t out, std::size_t in, WeightType type,
         Sums sums = Sums::fastest);
  Linear(Linear&&) noexcept;
  Linear& operator=(Linear&&) noexcept;
  ~Linear();

  /// Weights packed already, in memory that `owner` keeps alive (a mapped file, say).
  Linear(const quant::PackedMatrix& weights, std::shared_ptr<const void> owner);

  /// x [rows, in], y [rows, out], both f32; strides allowed; y may not alias x.
  void apply(ConstMatrix x, Matrix y) const;
  /// The same, sharing the preparation of x between layers that read it.
  void apply(const LinearInput& x, Matrix y) const;

  std::size_t in_size() const;
  std::size_t out_size() const;
  /// Of quantised weights; null for f32 and bf16.
  const quant::PackedMatrix* packed() const;
  /// Bytes of packed weights held in memory.
  std::size_t memory_bytes() const;

 private:
  friend void apply_together(const LinearInput& x, std::span<const struct LinearOutput> outputs);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// One of several layers that read the same input.
struct LinearOutput {
  const Linear* linear = nullptr;
  Matrix y;  ///< [rows, linear->out_size()]
  /// Quantised layers: y is limited to low .. high.
  float low = -std::numeric_limits<float>::infinity();
  float high = std::numeric_limits<float>::infinity();
};

/// Applies all of them, as Linear::apply would one after the other and with the same bits; those with
/// quantised weights share one parallel region.
void apply_together(const LinearInput& x, std::span<const LinearOutput> outputs);

/// Number of threads for every operation of the engine (OpenMP's setting for the
/// calling thread). n >= 1.
void set_num_threads(int n);
int num_threads();

/// "oneDNN 2.6.3, avx512_core_bf16", or "oneDNN 2.6.3, avx2; own avx2 kernels": for logs and
/// the run report.
std::string matmul_description();

}  // namespace reelfolio::engine::ops
