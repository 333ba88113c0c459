#pragma once

#include "engine/constraint/constraint.h"
#include "engine/constraint/grammar.h"
#include "engine/constraint/schema_document.h"

namespace reelfolio::engine::constraint {

/// Compiles a checked schema. Throws ConstraintError where a combination of keywords has no
/// grammar (oneOf that cannot be decided, automata that are too large) and where no value is left.
Grammar build_grammar(const SchemaDocument& document, const ConstraintOptions& options);

/// Fills in lengths and heights and drops what no value satisfies. False where the root is such.
bool finish_grammar(Grammar& grammar);

}  // namespace reelfolio::engine::constraint
