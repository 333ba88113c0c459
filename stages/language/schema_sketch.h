#pragma once

#include <string>

#include "stages/record.h"

namespace reelfolio::stages {

/// The form of a checked schema that prompts show (JsonSchema::sketch).
std::string schema_sketch(const Json& schema);

}  // namespace reelfolio::stages
