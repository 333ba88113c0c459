#pragma once

#include "stages/params.h"

namespace reelfolio::stages {

/// The parameter `soft_tokens` of the stages that make pictures.
ParamSpec soft_tokens_param(int default_budget);

/// Its value. Throws ParamError for a number that is no budget of the model.
int soft_tokens_of(const Params& params);

/// How many times the longer-reduced side of a picture shrinks when it is scaled to its
/// budget: 2.0 for half the size, below 1 for a picture that is enlarged. Small print
/// suffers from about 1.5 on. Sides in pixels, at least 1.
double shrink_factor(int width, int height, int soft_tokens);

}  // namespace reelfolio::stages
