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
#include "engine/kernels/row_kernels.h"
#include "engine/ops/activation.h"
#include "engine/ops/onednn.h"
#include "engine/quant/lowbit.h"

namespace reelfolio::engine::ops {

namespace {

/// Rows of x from which 4- and 2-bit weights are expanded to int8, a tile at a time, instead of
/// being looked up again for every eight rows.
constexpr std::size_t kExpandFromRows = 32;
/// Rows of x from which oneDNN's AMX product beats the kernels' VNNI.
constexpr std::size_t kAmxFromRows = 17;
/// Weight rows expanded for oneDNN at a time: 1,024 x 2,560 bytes and the sums of 512
/// rows fit in the last-level cache.
constexpr std::size_t kSliceRows = 1024;
/// Rows of x in one task at least, where several tasks share a tile: fewer would read the weights
/// more often than they multiply them.
constexpr std::size_t kTaskRows = 48;

bool has_amx() {
#if defined(__x86_64__)
  // gcc 12 and clang 14 know the feature by different words; oneDNN knows what the system allows.
  return dnnl::get_effective_cpu_isa() == dnnl::cpu_isa::avx512_core_amx;
#else
  return false;
#endif
}

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
  if (!has_amx()) return;
  const quant::PackedShape& shape = weights.shape;
  const std::size_t rows =
      shape.format == quant::Format::int8 ? shape.padded_rows() : std::min(kSliceRows, shape.padded_rows());
  product_ = Int8Product::get(rows, shape.padded_inputs());
}

QuantizedLinear::QuantizedLinear(QuantizedLinear&&) noexcept = default;
QuantizedLinear& QuantizedLinear::operator=(QuantizedLinear&&) noexcept = default;
QuantizedLinear::~QuantizedLinear() = default;

void QuantizedLinear::apply(const quant::QuantizedRows& x, Matrix y) const {
  const Product product{this, y};
  apply_all(x, {&product, 1});
}

bool QuantizedLinear::through_onednn(std::size_t rows) const {
  return product_ && rows >= kAmxFromRows && kernels::quant_kernels().expand != nullptr;
}

void QuantizedLinear::apply_all(const quant::QuantizedRows& x, std::span<const Product> products) {
  // Tasks of all products, counted through: a tile of weights with some of the rows.
  std::size_t tiles = 0;
  for (const Product& product : products) {
    assert(x.cols == product.linear->weights_.shape.in &&
           product.y.cols == product.linear->weights_.shape.out);
    assert(x.rows == product.y.rows);
    if (product.linear->through_onednn(x.rows)) {
      product.linear->apply_onednn(x, product.y);
      if (product.limited()) clamp(product.y, product.low, product.high, product.y);
    } else {
      tiles += product.linear->weights_.shape.row_tiles();
    }
  }
  if (tiles == 0 || x.rows == 0) return;
  const auto threads = static_cast<std::size_t>(omp_get_max_threads());
  const std::size_t most_parts = std::max<std::size_t>(1, x.rows / kTaskRows);
  // Several tasks for each thread, so that one more or less does not matter.
  const std::size_t parts = std::min(most_parts, (8 * threads + tiles - 1) / tiles);
#pragma omp parallel for schedule(static)
  for (std::ptrdiff_t task = 0; task < static_cast<std::ptrdiff_t>(tiles * parts); ++task) {
    std::size_t tile = static_cast<std::size_t>(task) / parts;
    const std::size_t part = static_cast<std::size_t>(task) % parts;
    const std::size_t first_row = x.rows * part / parts;
    const std::size_t rows = x.rows * (part + 1) / parts - first_row;
    for (const Product& product : products) {
      if (product.linear->through_onednn(x.rows)) continue;
      const std::size_t count = product.linear->weights_.shape.row_tiles();
      if (tile < count) {
        product.linear->apply_tile(x, tile, first_row, rows, product.y);
        limit_tile(product, tile, first_row, rows);
        break;
      }
      tile -= count;
    }
  }
}

void QuantizedLinear::limit_tile(const Product& product, std::size_t tile, std::size_t first_row,
                                 std::size_t rows) {
  if (!product.limited()) return;
  const std::size_t column = tile * quant::kTileRows;
  const std::size_t columns = std::min(quant::kTileRows, product.y.cols - column);
  for (std::size_t r = first_row; r < first_row + rows; ++r) {
    float* y = product.y.data + r * product.y.stride + column;
    kernels::row_kernels().clamp(y, product.low, product.high, y, columns);
  }
}

/// Rows [first_row, first_row + rows) of x with the 64 weight rows of one tile.
void QuantizedLinear::apply_tile(const quant::QuantizedRows& x, std::size_t tile, std::size_t first_row,
                                 std::size_t rows, Matrix y) const {
  const quant::PackedShape& shape = weights_.shape;
  const kernels::QuantKernels& kernels = kernels::quant_kernels();
  const bool is_int8 = shape.format == quant::Format::int8;
  const bool expand = !is_int8 && rows >= kExpandFromRows && kernels.expand != nullptr;
  const Matrix part = y.row_block(first_row, rows);
  kernels::LowBitArgs low{};
  if (!is_int8) {
    constexpr std::size_t kBlocksPerTile = quant::kTileRows / quant::kRowsPerBlock;
    low = lowbit_args(weights_);
    low.first_block = tile * kBlocksPerTile;
    low.last_block = expand ? low.first_block + kBlocksPerTile
                            : std::min(low.first_block + kBlocksPerTile,
                                       (shape.out + quant::kRowsPerBlock - 1) / quant::kRowsPerBlock);
    low.rows = rows;
    low.x = x.row(first_row);
    low.x_stride = x.stride;
    low.x_scales = x.scales.data() + first_row;
    low.y = part.data;
    low.y_stride = part.stride;
    if (!expand) {
      kernels.lowbit(low);
      return;
    }
  }
  kernels::Int8Args args{};
  args.input_tiles = shape.input_tiles();
  args.row_scales = weights_.row_scales;
  args.row_sums = weights_.row_sums;
  args.out = shape.out;
  args.first_tile = tile;
  args.last_tile = tile + 1;
  args.rows = rows;
  args.x = x.row(first_row);
  args.x_stride = x.stride;
  args.x_scales = x.scales.data() + first_row;
  args.y = part.data;
  args.y_stride = part.stride;
  if (is_int8) {
    args.weights = reinterpret_cast<const std::int8_t*>(weights_.codes);
  } else {
    thread_local Scratch scratch;
    const std::size_t tile_bytes = shape.input_tiles() * quant::kTileBytes;
    auto* levels = scratch.get_array<std::int8_t>(tile_bytes);
    kernels.expand(low, levels);
    // The scratch holds this tile alone: count its rows from there.
    args.weights = levels;
    args.row_scales += tile * quant::kTileRows;
    args.row_sums += tile * quant::kTileRows;
    args.out = std::min(quant::kTileRows, shape.out - tile * quant::kTileRows);
    args.first_tile = 0;
    args.last_tile = 1;
    args.y += tile * quant::kTileRows;
  }
  kernels.int8(args);
}

void QuantizedLinear::apply_onednn(const quant::QuantizedRows& x, Matrix y) const {
  constexpr std::size_t kBlocksPerTile = quant::kTileRows / quant::kRowsPerBlock;
  const quant::PackedShape& shape = weights_.shape;
  const bool is_int8 = shape.format == quant::Format::int8;
  const auto expand = kernels::quant_kernels().expand;
  const std::size_t slice_rows = is_int8 ? shape.padded_rows() : std::min(kSliceRows, shape.padded_rows());
  const std::size_t tile_row_bytes = shape.input_tiles() * quant::kTileBytes;
  thread_local Scratch weight_scratch;
  thread_local Scratch sum_scratch;
  thread_local Scratch x_scratch;
  // Rows whose sums stay in the cache until they are scaled.
  const std::size_t chunk =
      std::clamp<std::size_t>((std::size_t{1} << 20) / slice_rows / 32 * 32, 32, kMaxRows);
  for (std::size_t first_column = 0; first_column < shape.out; first_column += slice_rows) {
    const std::size_t first_tile = first_column / quant::kTileRows;
    const std::size_t count = std::min(slice_rows / quant::kTileRows, shape.row_tiles() - first_tile);
    const void* tiles = weights_.codes;
    if (!is_int8) {
      auto* expanded = weight_scratch.get_array<std::int8_t>(slice_rows * shape.padded_inputs());
#pragma omp parallel for schedule(static)
      for (std::ptrdiff_t tile = 0; tile < static_cast<std::ptrdiff_t>(count); ++tile) {
        kernels::LowBitArgs args = lowbit_args(weights_);
        args.first_block = (first_tile + tile) * kBlocksPerTile;
        args.last_block = args.first_block + kBlocksPerTile;
        expand(args, expanded + tile * tile_row_bytes);
      }
      tiles = expanded;
    }
    const std::size_t columns = std::min(count * quant::kTileRows, shape.out - first_column);
    for (std::size_t first = 0; first < x.rows; first += chunk) {
      const std::size_t rows = std::min(chunk, x.rows - first);
      const std::size_t padded = bucket_rows(rows);
      auto* sums = sum_scratch.get_array<std::int32_t>(padded * slice_rows);
      product_->at(padded).run(padded_input(x, first, rows, padded, x_scratch), tiles, sums);
      finish(sums, slice_rows, x, first, rows, weights_.row_scales + first_column,
             weights_.row_sums + first_column, columns, first_column, y);
    }
  }
}

}  // namespace reelfolio::engine::ops
