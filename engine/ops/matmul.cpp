#include "engine/ops/matmul.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/aligned_memory.h"
#include "engine/kernels/row_kernels.h"
#include "engine/ops/gather.h"
#include "engine/ops/onednn.h"
#include "engine/ops/panel_linear.h"
#include "engine/ops/quantized_linear.h"

namespace reelfolio::engine::ops {

namespace {

/// Rows that the packed layout is chosen for; the layout serves every other count.
constexpr std::size_t kLayoutRows = 64;

/// One weight shape: the layout of its packed weights and the primitives made so far.
/// Layers of the same shape share it.
class Kernel {
 public:
  /// weights: Tag::any for the layout that oneDNN likes best.
  Kernel(std::size_t out, std::size_t in, Type type, Tag weights)
      : out_(Dim(out)), in_(Dim(in)), type_(type) {
    const auto layout =
        describe_matmul({{Dim(kLayoutRows), in_}, type, Tag::ab}, {{in_, out_}, type, weights},
                        {{Dim(kLayoutRows), out_}, Type::f32, Tag::ab});
    usable_ = has_fixed_sums(layout);
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

/// Null where oneDNN has no suitable product of that type on this processor.
std::shared_ptr<Kernel> shared_kernel(std::size_t out, std::size_t in, Type type, Tag weights = Tag::any) {
  if (std::string_view(kernels::row_kernels().name) != "avx512") return nullptr;
  static std::mutex mutex;
  static std::map<std::tuple<std::size_t, std::size_t, Type, Tag>, std::weak_ptr<Kernel>> kernels;
  const std::lock_guard lock(mutex);
  auto& entry = kernels[{out, in, type, weights}];
  auto kernel = entry.lock();
  if (!kernel) {
    try {
      kernel = std::make_shared<Kernel>(out, in, type, weights);
    } catch (const dnnl::error& error) {
      if (error.status != dnnl_unimplemented) throw;
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

/// The matrix in `type`, [out, in].
AlignedBytes converted(std::span<const std::byte> bytes, DType dtype, std::size_t out, std::size_t in,
                       Type type) {
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
        std::copy(row.begin(), row.end(), reinterpret_cast<float*>(result.get()) + r * in);
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
const void* prepare(ConstMatrix x, std::size_t padded, Type type, Scratch& scratch) {
  const std::size_t in = x.cols;
  if (type == Type::f32 && padded == x.rows && x.stride == in) return x.data;
  const std::size_t element = type == Type::bf16 ? 2 : 4;
  std::byte* data = scratch.get(padded * in * element);
#pragma omp parallel for schedule(static) if (x.rows > 4)
  for (std::size_t r = 0; r < padded; ++r) {
    std::byte* target = data + r * in * element;
    if (r >= x.rows) {
      std::memset(target, 0, in * element);
    } else if (type == Type::bf16) {
      round_row(x.data + r * x.stride, reinterpret_cast<std::uint16_t*>(target), in);
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
  std::optional<PanelLinear> panels;  ///< instead of `kernel`
  std::shared_ptr<Kernel> kernel;
  const void* kernel_weights = nullptr;  ///< in the kernel's layout
  std::size_t packed_bytes = 0;

  AlignedBytes packed;                ///< where they are this layer's own
  std::shared_ptr<const void> owner;  ///< of packed weights' memory elsewhere
  std::optional<QuantizedLinear> quantized;

  /// Computes with packed weights, whose memory `owner` keeps.
  void use_packed(const quant::PackedMatrix& weights, Sums sums) {
    out = weights.shape.out;
    in = weights.shape.in;
    packed_bytes = weights.shape.total_bytes();
    if (quant::has_integers(weights.shape.format)) {
      quantized.emplace(weights);
      return;
    }
    type = Type::bf16;
    if (sums == Sums::fastest) kernel = shared_kernel(out, in, type, Tag::BA16a64b2a);
    if (kernel) {
      kernel_weights = weights.codes;
    } else {
      panels.emplace(weights);
    }
  }
};

Linear::Linear(std::span<const std::byte> bytes, DType dtype, std::size_t out, std::size_t in,
               WeightType type, Sums sums)
    : impl_(std::make_unique<Impl>()) {
  assert(bytes.size() == out * in * dtype_bytes(dtype));
  assert(dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16);
  Impl& impl = *impl_;
  impl.out = out;
  impl.in = in;
  impl.type = type == WeightType::bf16 ? Type::bf16 : Type::f32;
  if (!is_quantized(type) && sums == Sums::fastest) impl.kernel = shared_kernel(out, in, impl.type);
  if (!impl.kernel && type == WeightType::f32) {
    impl.panels.emplace(bytes, dtype, out, in);
    impl.packed_bytes = impl.panels->memory_bytes();
    return;
  }
  if (!impl.kernel) {
    auto buffer = std::make_shared<quant::PackedBuffer>(quant::pack_matrix(
        {packed_format(type), out, in},
        [&](std::size_t n, std::span<float> row) { convert_to_f32(bytes, dtype, n * in, row); }));
    impl.use_packed(buffer->view(), sums);
    impl.owner = std::move(buffer);
    return;
  }

  const dnnl::memory::desc& target = impl.kernel->weights();
  impl.packed_bytes = target.get_size();
  impl.packed = allocate_aligned(impl.packed_bytes);
  impl.kernel_weights = impl.packed.get();
  // W [out, in] row-major is W^T [in, out] column-major; no copy where the type is right already.
  const Dim rows = Dim(out);
  const Dim cols = Dim(in);
  AlignedBytes temporary;
  const void* source = bytes.data();
  if (onednn_type(dtype) != impl.type) {
    temporary = converted(bytes, dtype, out, in, impl.type);
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
  impl_->owner = std::move(owner);
  impl_->use_packed(weights, Sums::fastest);
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
  if (impl.panels) {
    impl.panels->apply(x, y);
    return;
  }
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
    const void* input = prepare(part, padded, impl.type, x_scratch);
    compiled.run(input, impl.kernel_weights, output);
    if (!direct) {
#pragma omp parallel for schedule(static) if (rows > 4)
      for (std::size_t r = 0; r < rows; ++r) {
        std::memcpy(result.data + r * result.stride, output + r * impl.out, impl.out * sizeof(float));
      }
    }
  }
}

void apply_together(const LinearInput& x, std::span<const LinearOutput> outputs) {
  // More than any layer of the models has; the rest would run in a second region.
  constexpr std::size_t kTogether = 4;
  std::array<QuantizedLinear::Product, kTogether> products{};
  std::size_t count = 0;
  const auto flush = [&] {
    if (count > 0) QuantizedLinear::apply_all(x.quantized(), {products.data(), count});
    count = 0;
  };
  for (const LinearOutput& output : outputs) {
    const Linear::Impl& impl = *output.linear->impl_;
    if (!impl.quantized) {
      output.linear->apply(x, output.y);
      continue;
    }
    if (count == kTogether) flush();
    products[count++] = {&*impl.quantized, output.y, output.low, output.high};
  }
  flush();
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
constexpr std::pair<std::string_view, WeightType> kWeightTypes[] = {{"f32", WeightType::f32},
                                                                    {"bf16", WeightType::bf16},
                                                                    {"int8", WeightType::int8},
                                                                    {"int4", WeightType::int4},
                                                                    {"int2", WeightType::int2}};
}  // namespace

quant::Format packed_format(WeightType type) {
  assert(type != WeightType::f32);
  return type == WeightType::int8   ? quant::Format::int8
         : type == WeightType::int4 ? quant::Format::int4
         : type == WeightType::int2 ? quant::Format::int2
                                    : quant::Format::bf16;
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
  const std::string table = kernels::row_kernels().name;
  const std::string own = table == "avx512" ? "" : "; own " + table + " kernels";
  return "oneDNN " + std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
         std::to_string(version->patch) + ", " + isa + own;
}

}  // namespace reelfolio::engine::ops
