#include "engine/ops/onednn.h"

#include <algorithm>
#include <string_view>

namespace reelfolio::engine::ops {

const dnnl::engine& cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::stream& stream() {
  thread_local dnnl::stream stream(cpu());
  return stream;
}

dnnl::matmul::primitive_desc describe_matmul(const dnnl::memory::desc& a, const dnnl::memory::desc& b,
                                             const dnnl::memory::desc& c) {
#if DNNL_VERSION_MAJOR >= 3
  return dnnl::matmul::primitive_desc(cpu(), a, b, c);
#else
  return dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, b, c), cpu());
#endif
}

bool is_reference(const dnnl::matmul::primitive_desc& description) {
  return std::string_view(description.impl_info_str()).find("ref") != std::string_view::npos;
}

bool has_fixed_sums(const dnnl::matmul::primitive_desc& description) {
  const std::string_view name = description.impl_info_str();
  return name.find("brg") != std::string_view::npos && name.find("avx512") != std::string_view::npos;
}

dnnl::memory borrowed(const dnnl::memory::desc& description, const void* data) {
  return dnnl::memory(description, cpu(), const_cast<void*>(data));
}

void CompiledMatmul::run(const void* a_data, const void* b_data, void* c_data) const {
  primitive.execute(stream(), {{DNNL_ARG_SRC, borrowed(a, a_data)},
                               {DNNL_ARG_WEIGHTS, borrowed(b, b_data)},
                               {DNNL_ARG_DST, borrowed(c, c_data)}});
  stream().wait();
}

std::size_t bucket_rows(std::size_t rows) {
  const auto round_up = [rows](std::size_t step) { return (rows + step - 1) / step * step; };
#if DNNL_VERSION_MAJOR >= 3
  // oneDNN 3 sums a single row in another order than the rows of a matrix; two rows cost the
  // same where one is bound by memory.
  if (rows == 1) return 2;
#endif
  if (rows <= 4) return rows;
  if (rows <= 16) return round_up(4);
  if (rows <= 64) return round_up(8);
  if (rows <= 256) return round_up(32);
  return std::min(round_up(64), kMaxRows);
}

}  // namespace reelfolio::engine::ops
