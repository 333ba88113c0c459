#pragma once

#include <cstddef>

#include "oneapi/dnnl/dnnl.hpp"

/// What the files that call oneDNN share, and where its 2.x and 3.x interfaces differ.
/// Not for other files: oneDNN stops at engine/ops.
namespace reelfolio::engine::ops {

using Dim = dnnl::memory::dim;
using Type = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;

const dnnl::engine& cpu();
/// Of the calling thread.
dnnl::stream& stream();

/// Throws dnnl::error where oneDNN has no such product on this processor.
dnnl::matmul::primitive_desc describe_matmul(const dnnl::memory::desc& a, const dnnl::memory::desc& b,
                                             const dnnl::memory::desc& c);
/// The reference loops of oneDNN are correct and hundreds of times too slow.
bool is_reference(const dnnl::matmul::primitive_desc& description);

/// True for oneDNN's AVX-512 kernels made of small blocks, each of whose sums one thread takes
/// in one order. Its other products split sums by the number of rows and threads.
bool has_fixed_sums(const dnnl::matmul::primitive_desc& description);

/// oneDNN takes mutable pointers for inputs as well; it does not write to those.
dnnl::memory borrowed(const dnnl::memory::desc& description, const void* data);

struct CompiledMatmul {
  dnnl::matmul primitive;
  dnnl::memory::desc a, b, c;

  /// c = a b, in this thread's stream, finished on return.
  void run(const void* a_data, const void* b_data, void* c_data) const;
};

/// Rows of one call. Larger inputs are cut, so that the scratch stays small and a prefill
/// chunk meets the same primitives whatever its length.
constexpr std::size_t kMaxRows = 512;

/// Number of rows to compute for `rows` wanted (at most kMaxRows): a few sizes stand for all,
/// so that decode steps of changing batch size do not compile a kernel each.
std::size_t bucket_rows(std::size_t rows);

}  // namespace reelfolio::engine::ops
