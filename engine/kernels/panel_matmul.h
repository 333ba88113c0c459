#pragma once

#include <cstddef>

/// y = x W^T in f32 with one sum per output, taken in the order of the inputs: a row's bits
/// depend on that row and W alone, whatever the number of rows, threads or blocks. For
/// processors without AVX-512, where oneDNN's products lack that property.
///
/// Weights lie in panels of kPanelOutputs outputs, the last one filled up with zeros. f32:
/// [panels][in][kPanelOutputs]. bf16: four panels side by side and inputs in pairs,
/// [panels / 4][pairs][4 * kPanelOutputs][2], as packed files have them
/// (quant/packed_matrix.h). x lies in tiles of `tile_rows` rows, the last one
/// as high as the rows left: element k of row r of a tile h rows high is at [k * h + r].
/// Pointers need no alignment.
namespace reelfolio::engine::kernels {

inline constexpr std::size_t kPanelOutputs = 16;
inline constexpr std::size_t kPanelsTogether = 4;

struct PanelArgs {
  const void* weights;
  bool bf16;          ///< weights are bf16, otherwise f32
  std::size_t pairs;  ///< bf16: pairs of inputs that weights are stored for, (in + 1) / 2 at least
  std::size_t in;
  std::size_t out;
  std::size_t first_panel;  ///< computes outputs of panels [first_panel, last_panel)
  std::size_t last_panel;
  const float* x;
  std::size_t rows;
  float* y;  ///< [rows, out]
  std::size_t y_stride;
};

struct PanelKernel {
  const char* name;
  std::size_t tile_rows;
  void (*multiply)(const PanelArgs&);
};

/// The kernel for the instructions of the row kernels in use. With fused multiply-add
/// ("avx512", "avx2") bits agree; "ref" rounds products too.
const PanelKernel& panel_kernel();

}  // namespace reelfolio::engine::kernels
