#pragma once

#include "engine/constraint/automaton.h"
#include "engine/constraint/schema_document.h"

namespace reelfolio::engine::constraint {

/// Whether the automaton admits a spelling of `value`: members in the order that each object
/// shape asks for, without spaces.
bool admits_value(const Automaton& automaton, const Json& value);

}  // namespace reelfolio::engine::constraint
