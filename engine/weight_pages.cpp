#include "engine/weight_pages.h"

#include "engine/packed_model.h"

namespace reelfolio::engine {

WeightPages::WeightPages(const Checkpoint& checkpoint, ops::WeightType weights) : checkpoint_(checkpoint) {
  if (weights != ops::WeightType::int2 || !packed_weights(checkpoint)) return;
  for (const TensorView& tensor : checkpoint.tensors()) {
    if (!is_packed_matrix(tensor)) continue;
    const bool vision =
        tensor.name.starts_with("model.vision_tower.") || tensor.name.starts_with("model.embed_vision.");
    const bool tower = vision || packed_part(tensor.name) == PackedPart::audio_tower;
    (tower ? towers_ : decoder_).push_back(&tensor);
  }
}

void WeightPages::drop(const std::vector<const TensorView*>& matrices) const {
  for (const TensorView* matrix : matrices) checkpoint_.release(*matrix);
}

}  // namespace reelfolio::engine
