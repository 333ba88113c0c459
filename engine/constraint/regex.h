#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "engine/constraint/dfa.h"

namespace reelfolio::engine::constraint {

/// A pattern that has no automaton here: not well-formed, not regular (back-references,
/// look-around), or too large. The message says which.
class PatternError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The texts in which a pattern matches somewhere, as an automaton over their UTF-8.
///
/// The pattern is ECMAScript's with the u flag, as JSON Schema recommends: characters are
/// code points; ^ and $ are the ends of the text; . is anything but a line's end; \d \w \s and
/// their opposites, \t \n \r \v \f \0 \xHH \uHHHH \u{H...}, groups, alternatives, classes,
/// ? * + {n} {n,} {n,m}, greedy or lazy alike. Throws PatternError.
Dfa compile_pattern(std::string_view pattern);

/// Every text: all valid UTF-8.
const Dfa& any_text();
/// Texts of at least `least` and, where given, at most `most` characters, 1000 at most each.
/// Throws PatternError beyond.
Dfa texts_of_length(std::size_t least, std::optional<std::size_t> most);

}  // namespace reelfolio::engine::constraint
