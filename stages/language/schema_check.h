#pragma once

#include <string>

#include "stages/record.h"

namespace reelfolio::stages {

/// Checks that `schema` uses supported keywords alone, with values of the right kind, that
/// every $ref leads to a schema inside the document and that none leads only to itself.
/// Returns "" or what is wrong, "#/properties/total: ...".
std::string schema_problem(const Json& schema);

/// The schema that `node` stands for: follows $ref (checked by schema_problem) to its end.
const Json& resolve_ref(const Json& root, const Json& node);

}  // namespace reelfolio::stages
