#include "engine/weight_pages.h"

#include <cstdlib>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "engine/packed_model.h"

namespace reelfolio::engine {

bool spares_memory(ops::WeightType weights) {
  return weights == ops::WeightType::int2;
}

WeightPages::WeightPages(const Checkpoint& checkpoint, ops::WeightType weights) : checkpoint_(checkpoint) {
  if (!spares_memory(weights) || !packed_weights(checkpoint)) return;
  for (const TensorView& tensor : checkpoint.tensors()) {
    if (!is_packed_matrix(tensor)) continue;
    const bool vision =
        tensor.name.starts_with("model.vision_tower.") || tensor.name.starts_with("model.embed_vision.");
    const bool tower = vision || packed_part(tensor.name) == PackedPart::audio_tower;
    (tower ? towers_ : decoder_).push_back(&tensor);
  }
}

void WeightPages::drop(const std::vector<const TensorView*>& matrices) const {
  if (matrices.empty()) return;
  for (const TensorView* matrix : matrices) checkpoint_.release(*matrix);
#ifdef __GLIBC__
  // What loading and the towers have freed lies between what stays, and would be kept for later.
  ::malloc_trim(0);
#endif
}

}  // namespace reelfolio::engine
