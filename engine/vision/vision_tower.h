#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string_view>

#include "engine/config.h"
#include "engine/ops/matmul.h"
#include "engine/safetensors.h"
#include "engine/tensor.h"
#include "engine/vision/preprocess.h"

namespace reelfolio::engine::vision {

/// Receives intermediate results, for tests: "patch_embed" and "layer.N" [patches, hidden],
/// "pooled" [soft tokens, hidden]. The matrix is borrowed for the call.
using VisionObserver = std::function<void(std::string_view name, ConstMatrix values)>;

/// Patches to soft tokens: encoder, pooling and the embedder that projects to the text
/// decoder's width (gemma4.md, sections 2, 3, 5 and 6).
///
/// Owns its weights, and the checkpoint may go once the constructor returns; those of a packed model stay in
/// the checkpoint's mapping. `encode` uses scratch memory of the object and may be called from one thread at
/// a time; it works on the OpenMP threads of the calling thread, and its result does not depend on their
/// number.
class VisionTower {
 public:
  /// Throws ModelError for a config without vision_config, one whose patches are not
  /// 16 x 16 pooled 3 x 3, and for tensors that are missing or of the wrong shape.
  VisionTower(const ModelConfig& config, const Checkpoint& checkpoint, ops::WeightType type);
  VisionTower(VisionTower&&) noexcept;
  VisionTower& operator=(VisionTower&&) noexcept;
  ~VisionTower();

  /// Bytes of its matrices.
  std::size_t memory_bytes() const;

  /// Throws RequestError for an image of more patch columns or rows than the position
  /// table has entries. `encode` checks the same.
  void check_size(const PreprocessedImage& image) const;

  /// Soft tokens [image.soft_tokens(), text hidden_size], row-major over the picture:
  /// rows for the decoder's input, to be used as they are.
  MatrixBuffer encode(const PreprocessedImage& image, const VisionObserver& observer = {}) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace reelfolio::engine::vision
