#pragma once

#include <vector>

#include "engine/ops/matmul.h"
#include "engine/safetensors.h"

namespace reelfolio::engine {

/// Whether a type of weights is chosen where memory is scarce, so that time is given for it: int2.
bool spares_memory(ops::WeightType weights);

/// Which of a packed model's weights are in this process's memory. Towers and decoder take turns, and
/// with weights that spare memory the part that rests is dropped from memory. Its pages
/// stay in the system's page cache as long as there is room; mapping them again takes about 0.1 s a gigabyte,
/// a few percent of what a picture takes. Free memory of the heap goes back to the system with them. For
/// other weights, and plain checkpoints, this does nothing.
///
/// Borrows the checkpoint.
class WeightPages {
 public:
  WeightPages(const Checkpoint& checkpoint, ops::WeightType weights);

  /// Nothing may be reading them.
  void drop_decoder() const { drop(decoder_); }
  void drop_towers() const { drop(towers_); }

 private:
  void drop(const std::vector<const TensorView*>& matrices) const;

  const Checkpoint& checkpoint_;
  std::vector<const TensorView*> decoder_, towers_;  ///< matrices of a packed file
};

}  // namespace reelfolio::engine
