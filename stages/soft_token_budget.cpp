#include "stages/soft_token_budget.h"

#include <algorithm>

#include "engine/vision/preprocess.h"
#include "stages/error.h"

namespace reelfolio::stages {

ParamSpec soft_tokens_param(int default_budget) {
  ParamSpec spec;
  spec.name = "soft_tokens";
  spec.type = ParamType::integer;
  spec.help = "detail the model sees of each picture: 70, 140, 280, 560 or 1120 soft tokens";
  spec.default_value = std::int64_t{default_budget};
  spec.min = 70;
  spec.max = 1120;
  return spec;
}

int soft_tokens_of(const Params& params) {
  const std::int64_t value = params.integer("soft_tokens");
  if (value < 0 || value > 1120 || !engine::vision::is_soft_token_budget(static_cast<int>(value))) {
    throw ParamError("soft_tokens",
                     std::to_string(value) + " is no budget, expected 70, 140, 280, 560 or 1120");
  }
  return static_cast<int>(value);
}

double shrink_factor(int width, int height, int soft_tokens) {
  const engine::vision::ImageSize target = engine::vision::target_size(height, width, soft_tokens);
  return std::max(static_cast<double>(width) / target.width, static_cast<double>(height) / target.height);
}

}  // namespace reelfolio::stages
