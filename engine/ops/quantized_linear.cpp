#include "engine/ops/quantized_linear.h"

#include <omp.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <map>
#include <mutex>
#include <tuple>

#include "engine/aligned_memory.h"
#include "engine/kernels/quant_kernels.h"
#include "engine/ops/onednn.h"
#include "engine/quant/lowbit.h"

namespace reelfolio::engine::ops {

namespace {

/// Rows of x from which 4- and 2-bit weights are expanded to int8 once and multiplied by
/// oneDNN, instead of being decoded again for every 16 rows.
constexpr std::size_t kExpandFromRows = 96;
/// Weight rows expanded and multiplied at a time: 1,024 x 2,560 bytes and the sums of 512
/// rows fit in the last-level cache.
constexpr std::size_t kSliceRows = 1024;

/// y = f32(sum - 128 * row_sum) * (row_scale * x_scale); `sums` [rows, sum_stride] are the
/// products of the bytes of x, which carry +128.
void finish(const std::int32_t* sums, std::size_t sum_stride, const quant::QuantizedRows& x,
            std::size_t first_row, std::size_t rows, const float* row_scales, const std::int32_t* row_sums,
            std::size_t columns, std::size_t first_column, Matrix y) {
#pragma omp parallel for schedule(static) if (rows * columns > 4096)
  for (std::ptrdiff_t r = 0; r < static_cast<std::ptrdiff_t>(rows); ++r) {
    const std::int32_t* sum = sums + r * sum_stride;
    const float x_scale = x.scales[first_row + r];
    float* out = y.data + (first_row + r) * y.stride + first_column;
    for (std::size_t n = 0; n < columns; ++n) {
      out[n] = static_cast<float>(sum[n] - 128 * row_sums[n]) * (row_scales[n] * x_scale);
    }
  }
}

/// Rows first .. first + padded of x as oneDNN wants them: where x ends before, in a copy.
const void* padded_input(const quant::QuantizedRows& x, std::size_t first, std::size_t rows,
                         std::size_t padded, Scratch& scratch) {
  if (first + padded <= x.rows) return x.row(first);
  auto* copy = scratch.get_array<std::uint8_t>(padded * x.stride);
  std::memcpy(copy, x.row(first), rows * x.stride);
  std::memset(copy + rows * x.stride, 128, (padded - rows) * x.stride);
  return copy;
}

/// The weights' side of a low-bit kernel call; rows and blocks are left to the caller.
kernels::LowBitArgs lowbit_args(const quant::PackedMatrix& weights) {
  const auto bits = weights.shape.format == quant::Format::int4 ? quant::LowBits::four : quant::LowBits::two;
  kernels::LowBitArgs args{};
  args.bits = static_cast<int>(bits);
  args.groups = weights.shape.padded_inputs() / quant::kGroup;
  args.codes = weights.codes;
  args.multipliers = weights.multipliers;
  args.row_scales = weights.row_scales;
  args.row_sums = weights.row_sums;
  args.levels = reinterpret_cast<const std::int8_t(*)[16]>(quant::level_tables(bits).level.data());
  args.out = weights.shape.out;
  return args;
}

}  // namespace

/// oneDNN's u8 x s8 -> s32 product for weights of one shape in the tile layout.
class QuantizedLinear::Int8Product {
 public:
  /// Shared by all layers of that shape; null where it is missing, slow or not exact.
  static std::shared_ptr<Int8Product> get(std::size_t rows, std::size_t inputs) {
    // Without VNNI the product adds pairs in 16 bits and saturates.
    if (!__builtin_cpu_supports("avx512vnni")) return nullptr;
    static std::mutex mutex;
    static std::map<std::pair<std::size_t, std::size_t>, std::weak_ptr<Int8Product>> products;
    const std::lock_guard lock(mutex);
    auto& entry = products[{rows, inputs}];
    auto product = entry.lock();
    if (!product) {
      product.reset(new Int8Product(rows, inputs));
      if (!product->usable()) return nullptr;
      entry = product;
    }
    return product;
  }

  const CompiledMatmul& at(std::size_t x_rows) {
    // A primitive is compiled for the number of threads set at that time.
    const std::pair<std::size_t, int> key(x_rows, omp_get_max_threads());
    const std::lock_guard lock(mutex_);
    auto found = compiled_.find(key);
    if (found == compiled_.end()) {
      CompiledMatmul made = descriptors(x_rows);
      made.primitive = dnnl::matmul(describe_matmul(made.a, made.b, made.c));
      found = compiled_.emplace(key, std::move(made)).first;
    }
    return found->second;
  }

 private:
  Int8Product(std::size_t rows, std::size_t inputs) : rows_(Dim(rows)), inputs_(Dim(inputs)) {}

  CompiledMatmul descriptors(std::size_t x_rows) const {
    CompiledMatmul made;
    made.a = {{Dim(x_rows), inputs_}, Type::u8, Tag::ab};
    made.b = {{inputs_, rows_}, Type::s8, Tag::BA16a64b4a};
    made.c = {{Dim(x_rows), rows_}, Type::s32, Tag::ab};
    return made;
  }
  bool usable() const {
    const CompiledMatmul made = descriptors(16);
    try {
      return !is_reference(describe_matmul(made.a, made.b, made.c));
    } catch (const dnnl::error&) {
      return false;
    }
  }

  Dim rows_, inputs_;
  std::mutex mutex_;
  std::map<std::pair<std::size_t, int>, CompiledMatmul> compiled_;
};

QuantizedLinear::QuantizedLinear(const quant::PackedMatrix& weights) : weights_(weights) {
  const quant::PackedShape& shape = weights.shape;
  const std::size_t rows =
      shape.format == quant::Format::int8 ? shape.padded_rows() : std::min(kSliceRows, shape.padded_rows());
  product_ = Int8Product::get(rows, shape.padded_inputs());
}

QuantizedLinear::QuantizedLinear(QuantizedLinear&&) noexcept = default;
QuantizedLinear& QuantizedLinear::operator=(QuantizedLinear&&) noexcept = default;
QuantizedLinear::~QuantizedLinear() = default;

void QuantizedLinear::apply(const quant::QuantizedRows& x, Matrix y) const {
  assert(x.cols == weights_.shape.in && y.cols == weights_.shape.out && x.rows == y.rows);
  const kernels::QuantKernels& kernels = kernels::quant_kernels();
  if (weights_.shape.format == quant::Format::int8) {
    apply_int8(x, y);
  } else if (x.rows >= kExpandFromRows && kernels.expand != nullptr && product_) {
    apply_expanded(x, y);
  } else {
    apply_lowbit(x, y);
  }
}

void QuantizedLinear::apply_int8(const quant::QuantizedRows& x, Matrix y) const {
  const quant::PackedShape& shape = weights_.shape;
  const kernels::QuantKernels& kernels = kernels::quant_kernels();
  if (kernels.int8 != nullptr || !product_) {
    const kernels::Int8Function multiply = kernels.int8 != nullptr ? kernels.int8 : kernels::int8_matmul_ref;
#pragma omp parallel for schedule(static)
    for (std::ptrdiff_t tile = 0; tile < static_cast<std::ptrdiff_t>(shape.row_tiles()); ++tile) {
      kernels::Int8Args args{};
      args.input_tiles = shape.input_tiles();
      args.weights = reinterpret_cast<const std::int8_t*>(weights_.codes);
      args.row_scales = weights_.row_scales;
      args.out = shape.out;
      args.first_tile = static_cast<std::size_t>(tile);
      args.last_tile = args.first_tile + 1;
      args.rows = x.rows;
      args.x = x.bytes.data();
      args.x_stride = x.stride;
      args.x_scales = x.scales.data();
      args.y = y.data;
      args.y_stride = y.stride;
      multiply(args);
    }
    return;
  }
  thread_local Scratch sum_scratch;
  thread_local Scratch x_scratch;
  // Rows whose sums stay in the cache until they are scaled.
  const std::size_t chunk =
      std::clamp<std::size_t>((std::size_t{1} << 20) / shape.padded_rows() / 32 * 32, 32, kMaxRows);
  for (std::size_t first = 0; first < x.rows; first += chunk) {
    const std::size_t rows = std::min(chunk, x.rows - first);
    const std::size_t padded = bucket_rows(rows);
    auto* sums = sum_scratch.get_array<std::int32_t>(padded * shape.padded_rows());
    product_->at(padded).run(padded_input(x, first, rows, padded, x_scratch), weights_.codes, sums);
    finish(sums, shape.padded_rows(), x, first, rows, weights_.row_scales, weights_.row_sums, shape.out, 0,
           y);
  }
}

void QuantizedLinear::apply_lowbit(const quant::QuantizedRows& x, Matrix y) const {
  const kernels::LowBitFunction multiply = kernels::quant_kernels().lowbit;
  const std::size_t blocks = (weights_.shape.out + quant::kRowsPerBlock - 1) / quant::kRowsPerBlock;
#pragma omp parallel
  {
    const auto threads = static_cast<std::size_t>(omp_get_num_threads());
    const auto thread = static_cast<std::size_t>(omp_get_thread_num());
    kernels::LowBitArgs args = lowbit_args(weights_);
    args.first_block = blocks * thread / threads;
    args.last_block = blocks * (thread + 1) / threads;
    args.rows = x.rows;
    args.x = x.bytes.data();
    args.x_stride = x.stride;
    args.x_scales = x.scales.data();
    args.y = y.data;
    args.y_stride = y.stride;
    if (args.first_block < args.last_block) multiply(args);
  }
}

void QuantizedLinear::apply_expanded(const quant::QuantizedRows& x, Matrix y) const {
  constexpr std::size_t kBlocksPerTile = quant::kTileRows / quant::kRowsPerBlock;
  const quant::PackedShape& shape = weights_.shape;
  const auto expand = kernels::quant_kernels().expand;
  const std::size_t slice_rows = std::min(kSliceRows, shape.padded_rows());
  const std::size_t tile_row_bytes = shape.input_tiles() * quant::kTileBytes;
  thread_local Scratch weight_scratch;
  thread_local Scratch sum_scratch;
  thread_local Scratch x_scratch;
  auto* tiles = weight_scratch.get_array<std::int8_t>(slice_rows * shape.padded_inputs());
  for (std::size_t first_column = 0; first_column < shape.out; first_column += slice_rows) {
    const std::size_t first_tile = first_column / quant::kTileRows;
    const std::size_t count = std::min(slice_rows / quant::kTileRows, shape.row_tiles() - first_tile);
#pragma omp parallel for schedule(static)
    for (std::ptrdiff_t tile = 0; tile < static_cast<std::ptrdiff_t>(count); ++tile) {
      kernels::LowBitArgs args = lowbit_args(weights_);
      args.first_block = (first_tile + tile) * kBlocksPerTile;
      args.last_block = args.first_block + kBlocksPerTile;
      expand(args, tiles + tile * tile_row_bytes);
    }
    const std::size_t columns = std::min(count * quant::kTileRows, shape.out - first_column);
    for (std::size_t first = 0; first < x.rows; first += kMaxRows) {
      const std::size_t rows = std::min(kMaxRows, x.rows - first);
      const std::size_t padded = bucket_rows(rows);
      auto* sums = sum_scratch.get_array<std::int32_t>(padded * slice_rows);
      product_->at(padded).run(padded_input(x, first, rows, padded, x_scratch), tiles, sums);
      finish(sums, slice_rows, x, first, rows, weights_.row_scales + first_column,
             weights_.row_sums + first_column, columns, first_column, y);
    }
  }
}

}  // namespace reelfolio::engine::ops
