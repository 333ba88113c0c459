#include "engine/ops/matmul.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/aligned_memory.h"
#include "engine/ops/gather.h"
#include "engine/ops/onednn.h"
#include "engine/ops/quantized_linear.h"

namespace reelfolio::engine::ops {

namespace {

/// Rows that the packed layout is chosen for; the layout serves every other count.
constexpr std::size_t kLayoutRows = 64;

/// One weight shape: the layout of its packed weights and the primitives made so far.
/// Layers of the same shape share it.
class Kernel {
 public:
  Kernel(std::size_t out, std::size_t in, Type type) : out_(Dim(out)), in_(Dim(in)), type_(type) {
    const auto layout =
        describe_matmul({{Dim(kLayoutRows), in_}, type, Tag::ab}, {{in_, out_}, type, Tag::any},
                        {{Dim(kLayoutRows), out_}, Type::f32, Tag::ab});
    usable_ = type == Type::f32 || !is_reference(layout);
    weights_ = layout.weights_desc();
  }

  bool usable() const { return usable_; }
  const dnnl::memory::desc& weights() const { return weights_; }

  const CompiledMatmul& at(std::size_t rows) {
    // A primitive is compiled for the number of threads set at that time.
    const std::pair<std::size_t, int> key(rows, omp_get_max_threads());
    const std::lock_guard lock(mutex_);
    auto found = compiled_.find(key);
    if (found == compiled_.end()) {
      CompiledMatmul made;
      made.a = {{Dim(rows), in_}, type_, Tag::ab};
      made.b = weights_;
      made.c = {{Dim(rows), out_}, Type::f32, Tag::ab};
      made.primitive = dnnl::matmul(describe_matmul(made.a, made.b, made.c));
      found = compiled_.emplace(key, std::move(made)).first;
    }
    return found->second;
  }

 private:
  Dim out_, in_;
  Type type_;
  bool usable_ = false;
  dnnl::memory::desc weights_;
  std::mutex mutex_;
  std::map<std::pair<std::size_t, int>, CompiledMatmul> compiled_;
};

/// Null where oneDNN has no fast matmul of that type on this processor.
std::shared_ptr<Kernel> shared_kernel(std::size_t out, std::size_t in, Type type) {
  static std::mutex mutex;
  static std::map<std::tuple<std::size_t, std::size_t, Type>, std::weak_ptr<Kernel>> kernels;
  const std::lock_guard lock(mutex);
  auto& entry = kernels[{out, in, type}];
  auto kernel = entry.lock();
  if (!kernel) {
    try {
      kernel = std::make_shared<Kernel>(out, in, type);
    } catch (const dnnl::error& error) {
      if (type == Type::f32 || error.status != dnnl_unimplemented) throw;
      return nullptr;
    }
    if (!kernel->usable()) return nullptr;
    entry = kernel;
  }
  return kernel;
}

Type onednn_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return Type::f32;
    case DType::f16:
      return Type::f16;
    case DType::bf16:
      return Type::bf16;
    default:
      return Type::undef;
  }
}

/// The matrix in `type`, [out, in]; `rounded` passes values through bf16 on the way to f32.
AlignedBytes converted(std::span<const std::byte> bytes, DType dtype, std::size_t out, std::size_t in,
                       Type type, bool rounded) {
  AlignedBytes result = allocate_aligned(out * in * (type == Type::bf16 ? 2 : 4));
#pragma omp parallel
  {
    std::vector<float> row(in);
#pragma omp for schedule(static)
    for (std::size_t r = 0; r < out; ++r) {
      convert_to_f32(bytes, dtype, r * in, row);
      if (type == Type::bf16) {
        auto* target = reinterpret_cast<std::uint16_t*>(result.get()) + r * in;
        for (std::size_t c = 0; c < in; ++c) target[c] = f32_to_bf16(row[c]);
      } else {
        auto* target = reinterpret_cast<float*>(result.get()) + r * in;
        if (rounded) {
          for (std::size_t c = 0; c < in; ++c) target[c] = bf16_to_f32(f32_to_bf16(row[c]));
        } else {
          std::copy(row.begin(), row.end(), target);
        }
      }
    }
  }
  return result;
}

/// Values that the compiler turns into vector code: no branch on NaN, which keeps its
/// upper bits and, having its quiet bit set by any arithmetic before, stays NaN.
void round_row(const float* x, std::uint16_t* y, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, x + i, sizeof bits);
    const std::uint32_t rounded = bits + 0x7FFFU + ((bits >> 16) & 1U);
    const bool nan = (bits & 0x7FFFFFFFU) > 0x7F800000U;
    y[i] = static_cast<std::uint16_t>((nan ? bits | 0x400000U : rounded) >> 16);
  }
}

/// Activations as the primitive wants them: [padded rows, in], dense, padding zero.
const void* prepare(ConstMatrix x, std::size_t padded, Type type, bool rounded, Scratch& scratch) {
  const std::size_t in = x.cols;
  if (type == Type::f32 && !rounded && padded == x.rows && x.stride == in) return x.data;
  const std::size_t element = type == Type::bf16 ? 2 : 4;
  std::byte* data = scratch.get(padded * in * element);
#pragma omp parallel for schedule(static) if (x.rows > 4)
  for (std::size_t r = 0; r < padded; ++r) {
    std::byte* target = data + r * in * element;
    if (r >= x.rows) {
      std::memset(target, 0, in * element);
    } else if (type == Type::bf16) {
      round_row(x.data + r * x.stride, reinterpret_cast<std::uint16_t*>(target), in);
    } else if (rounded) {
      auto* values = reinterpret_cast<float*>(target);
      for (std::size_t c = 0; c < in; ++c) values[c] = bf16_to_f32(f32_to_bf16(x.data[r * x.stride + c]));
    } else {
      std::memcpy(target, x.data + r * x.stride, in * element);
    }
  }
  return data;
}

}  // namespace

struct Linear::Impl {
  std::size_t out = 0;
  std::size_t in = 0;
  Type type = Type::f32;
  bool rounded = false;  ///< f32 products of numbers rounded to bf16
  std::shared_ptr<Kernel> kernel;
  AlignedBytes packed;
  std::size_t packed_bytes = 0;

  std::shared_ptr<const void> owner;  ///< of the quantised weights' memory
  std::optional<QuantizedLinear> quantized;
};

Linear::Linear(std::span<const std::byte> bytes, DType dtype, std::size_t out, std::size_t in,
               WeightType type)
    : impl_(std::make_unique<Impl>()) {
  assert(bytes.size() == out * in * dtype_bytes(dtype));
  assert(dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16);
  Impl& impl = *impl_;
  impl.out = out;
  impl.in = in;
  if (is_quantized(type)) {
    const quant::PackedShape shape{packed_format(type), out, in};
    auto buffer = std::make_shared<quant::PackedBuffer>(quant::pack_matrix(
        shape, [&](std::size_t n, std::span<float> row) { convert_to_f32(bytes, dtype, n * in, row); }));
    impl.quantized.emplace(buffer->view());
    impl.packed_bytes = shape.total_bytes();
    impl.owner = std::move(buffer);
    return;
  }
  if (type == WeightType::bf16) {
    impl.type = Type::bf16;
    impl.kernel = shared_kernel(out, in, Type::bf16);
    impl.rounded = impl.kernel == nullptr;
  }
  if (!impl.kernel) {
    impl.type = Type::f32;
    impl.kernel = shared_kernel(out, in, Type::f32);
  }

  const dnnl::memory::desc& target = impl.kernel->weights();
  impl.packed_bytes = target.get_size();
  impl.packed = allocate_aligned(impl.packed_bytes);
  // W [out, in] row-major is W^T [in, out] column-major; no copy where the type is right already.
  const Dim rows = Dim(out);
  const Dim cols = Dim(in);
  AlignedBytes temporary;
  const void* source = bytes.data();
  if (onednn_type(dtype) != impl.type || impl.rounded) {
    temporary = converted(bytes, dtype, out, in, impl.type, impl.rounded);
    source = temporary.get();
  }
  const dnnl::memory::desc plain({cols, rows}, impl.type, dnnl::memory::dims{1, cols});
  dnnl::memory from = borrowed(plain, source);
  dnnl::memory to = borrowed(target, impl.packed.get());
  dnnl::reorder(from, to).execute(stream(), from, to);
  stream().wait();
}

Linear::Linear(const quant::PackedMatrix& weights, std::shared_ptr<const void> owner)
    : impl_(std::make_unique<Impl>()) {
  impl_->out = weights.shape.out;
  impl_->in = weights.shape.in;
  impl_->packed_bytes = weights.shape.total_bytes();
  impl_->owner = std::move(owner);
  impl_->quantized.emplace(weights);
}

Linear::Linear(Linear&&) noexcept = default;
Linear& Linear::operator=(Linear&&) noexcept = default;
Linear::~Linear() = default;

void Linear::apply(ConstMatrix x, Matrix y) const {
  apply(LinearInput(x), y);
}

void Linear::apply(const LinearInput& input_rows, Matrix y) const {
  const Impl& impl = *impl_;
  const ConstMatrix x = input_rows.values();
  assert(x.cols == impl.in && y.cols == impl.out && x.rows == y.rows);
  if (impl.quantized) {
    impl.quantized->apply(input_rows.quantized(), y);
    return;
  }
  thread_local Scratch x_scratch;
  thread_local Scratch y_scratch;
  for (std::size_t first = 0; first < x.rows; first += kMaxRows) {
    const std::size_t rows = std::min(kMaxRows, x.rows - first);
    const std::size_t padded = bucket_rows(rows);
    const CompiledMatmul& compiled = impl.kernel->at(padded);
    const ConstMatrix part = x.row_block(first, rows);
    const Matrix result = y.row_block(first, rows);
    const bool direct = padded == rows && result.stride == impl.out;
    float* output =
        direct ? result.data : reinterpret_cast<float*>(y_scratch.get(padded * impl.out * sizeof(float)));
    const void* input = prepare(part, padded, impl.type, impl.rounded, x_scratch);
    compiled.run(input, impl.packed.get(), output);
    if (!direct) {
#pragma omp parallel for schedule(static) if (rows > 4)
      for (std::size_t r = 0; r < rows; ++r) {
        std::memcpy(result.data + r * result.stride, output + r * impl.out, impl.out * sizeof(float));
      }
    }
  }
}

std::size_t Linear::in_size() const {
  return impl_->in;
}
std::size_t Linear::out_size() const {
  return impl_->out;
}
const quant::PackedMatrix* Linear::packed() const {
  return impl_->quantized ? &impl_->quantized->weights() : nullptr;
}
std::size_t Linear::memory_bytes() const {
  return impl_->packed_bytes;
}

namespace {

/// CompiledMatmul products of two activations, by sizes, strides and threads.
const CompiledMatmul& activation_kernel(std::size_t m, std::size_t n, std::size_t k, std::size_t a_stride,
                                        std::size_t b_stride, std::size_t c_stride, bool transposed) {
  using Key = std::array<std::size_t, 8>;
  // Shapes vary with sequence lengths; beyond this many the old ones are dropped.
  constexpr std::size_t kKept = 256;
  thread_local std::map<Key, CompiledMatmul> kernels;
  const Key key{m,
                n,
                k,
                a_stride,
                b_stride,
                c_stride,
                transposed ? 1U : 0U,
                static_cast<std::size_t>(omp_get_max_threads())};
  const auto found = kernels.find(key);
  if (found != kernels.end()) return found->second;
  if (kernels.size() >= kKept) kernels.clear();
  const auto strides = [](std::size_t rows, std::size_t columns) {
    return dnnl::memory::dims{Dim(rows), Dim(columns)};
  };
  CompiledMatmul made;
  made.a = {{Dim(m), Dim(k)}, Type::f32, strides(a_stride, 1)};
  made.b = {{Dim(k), Dim(n)}, Type::f32, transposed ? strides(1, b_stride) : strides(b_stride, 1)};
  made.c = {{Dim(m), Dim(n)}, Type::f32, strides(c_stride, 1)};
  made.primitive = dnnl::matmul(describe_matmul(made.a, made.b, made.c));
  return kernels.emplace(key, std::move(made)).first->second;
}

void multiply(ConstMatrix a, ConstMatrix b, Matrix c, bool transposed) {
  if (c.rows == 0 || c.cols == 0) return;
  const CompiledMatmul& compiled =
      activation_kernel(a.rows, c.cols, a.cols, a.stride, b.stride, c.stride, transposed);
  compiled.run(a.data, b.data, c.data);
}

}  // namespace

void matmul_abt(ConstMatrix a, ConstMatrix b, Matrix c) {
  assert(a.cols == b.cols && c.rows == a.rows && c.cols == b.rows);
  multiply(a, b, c, true);
}

void matmul_ab(ConstMatrix a, ConstMatrix b, Matrix c) {
  assert(a.cols == b.rows && c.rows == a.rows && c.cols == b.cols);
  multiply(a, b, c, false);
}

namespace {
constexpr std::pair<std::string_view, WeightType> kWeightTypes[] = {{"f32", WeightType::f32},
                                                                    {"bf16", WeightType::bf16},
                                                                    {"int8", WeightType::int8},
                                                                    {"int4", WeightType::int4},
                                                                    {"int2", WeightType::int2}};
}  // namespace

quant::Format packed_format(WeightType type) {
  assert(is_quantized(type));
  return type == WeightType::int8   ? quant::Format::int8
         : type == WeightType::int4 ? quant::Format::int4
                                    : quant::Format::int2;
}

std::string_view weight_type_name(WeightType type) {
  for (const auto& [name, value] : kWeightTypes) {
    if (value == type) return name;
  }
  return "";
}

std::optional<WeightType> find_weight_type(std::string_view name) {
  for (const auto& [known, value] : kWeightTypes) {
    if (known == name) return value;
  }
  return std::nullopt;
}

void set_num_threads(int n) {
  assert(n >= 1);
  omp_set_num_threads(n);
}

int num_threads() {
  return omp_get_max_threads();
}

std::string matmul_description() {
  const dnnl_version_t* version = dnnl_version();
  std::string isa;
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::sse41:
      isa = "sse41";
      break;
    case dnnl::cpu_isa::avx:
      isa = "avx";
      break;
    case dnnl::cpu_isa::avx2:
      isa = "avx2";
      break;
    case dnnl::cpu_isa::avx512_core:
      isa = "avx512_core";
      break;
    case dnnl::cpu_isa::avx512_core_vnni:
      isa = "avx512_core_vnni";
      break;
    case dnnl::cpu_isa::avx512_core_bf16:
      isa = "avx512_core_bf16";
      break;
    case dnnl::cpu_isa::avx512_core_amx:
      isa = "avx512_core_amx";
      break;
    default:
      isa = "isa " + std::to_string(static_cast<int>(dnnl::get_effective_cpu_isa()));
  }
  return "oneDNN " + std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
         std::to_string(version->patch) + ", " + isa;
}

}  // namespace reelfolio::engine::ops
