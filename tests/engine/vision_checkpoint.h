#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "engine/config.h"

/// Vision towers with invented weights, for tests and benchmarks.
namespace reelfolio::test {

/// A config of the given sizes; everything else as in the release.
struct VisionShape {
  std::size_t hidden_size = 32;
  std::size_t intermediate_size = 48;
  std::size_t layers = 2;
  std::size_t heads = 2;
  std::size_t head_dim = 16;
  std::size_t position_entries = 64;
  std::size_t text_hidden_size = 24;

  /// hidden 768, 16 layers, 12 heads of 64, the decoder's width of E4B.
  static VisionShape release();
};
engine::ModelConfig vision_model_config(const VisionShape& shape);

struct NamedTensor {
  std::vector<std::size_t> shape;
  std::vector<float> values;
};
using NamedTensors = std::map<std::string, NamedTensor>;

/// Random values: matrices of variance 1 / columns, norm weights near 1, clip bounds at about
/// three deviations, the query and key norms such that scores spread over a few units.
NamedTensors vision_tensors(const VisionShape& shape, std::uint64_t seed);

/// Writes `dir`/model.safetensors with the tensors as f32, or as bf16 (cut, not rounded).
void write_checkpoint(const std::filesystem::path& dir, const NamedTensors& tensors, bool bf16);

}  // namespace reelfolio::test
