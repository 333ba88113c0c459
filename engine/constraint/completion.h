#pragma once

#include <string>
#include <vector>

#include "engine/constraint/automaton.h"

namespace reelfolio::engine::constraint {

/// What follows the spelled prefix of an additional key, up to and without the closing
/// quote: a short one that the object does not have yet.
std::string key_rest(const Grammar& grammar, const Frame& key, const Frame& object);

/// Whether reading `rest` from `place` leads to the end of a key.
bool completes_key(const StringShape& keys, StringPlace place, const std::string& rest);

/// Writes short completions.
class Completion {
 public:
  /// spaced: separators have a space behind them.
  Completion(const Grammar& grammar, bool spaced)
      : grammar_(grammar), comma_(spaced ? ", " : ","), spaced_(spaced) {}
  std::string of(const Stack& top);

 private:
  void value(NodeId node);
  void shape(const Alternative& alternative);
  void array_rest(const ArrayShape& shape, const Frame& array);
  void object_rest(const ObjectShape& shape, Frame object);
  void colon() { out_ += spaced_ ? ": " : ":"; }

  const Grammar& grammar_;
  const std::string comma_;
  const bool spaced_;
  std::string out_;
};

}  // namespace reelfolio::engine::constraint
