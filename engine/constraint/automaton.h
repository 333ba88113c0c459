#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/constraint/grammar.h"
#include "engine/constraint/string_reader.h"

namespace reelfolio::engine::constraint {

/// What is being read, or will be once the frames above it are through.
struct Frame {
  enum class Kind : std::uint8_t {
    value,   ///< shape is a node; phase 1: a space may come first
    text,    ///< in `place.state` of a text automaton
    string,  ///< behind the opening quote
    array,   ///< phase 0: behind '['; 1: behind item `count` - 1
    object,  ///< phases below; `next` is the first property that may still come
    key,     ///< `next` bytes into the spelling of property `property` of object `shape`
    colon,
  };
  enum ObjectPhase : std::uint8_t { opened, behind_member, behind_comma, behind_space, in_key };

  Kind kind = Kind::value;
  std::uint8_t phase = 0;
  std::uint32_t shape = 0;
  std::uint32_t next = 0;      ///< array: items counted for `contains`, or the lower bits of used_items()
  std::uint32_t count = 0;     ///< of items or members, as far as it matters
  std::uint32_t property = 0;  ///< key: which; object in an additional key: of which class
  StringPlace place;
  /// Of an object: the additional keys it has, sorted. Of an additional key: its spelling so far.
  std::shared_ptr<const std::vector<std::string>> names;

  /// Of an array of unique items: a bit for each of the shape's nodes.
  std::uint64_t used_items() const { return std::uint64_t{property} << 32 | next; }
  void use_item(std::size_t index) { (index < 32 ? next : property) |= std::uint32_t{1} << index % 32; }
};

/// Frames within each other, the innermost first: one way to read a text so far. Immutable and
/// shared. Null: the whole text is read.
struct Stack;
using Reading = std::shared_ptr<const Stack>;
struct Stack {
  Frame frame;
  Reading below;
  std::uint32_t depth = 0;       ///< arrays and objects, this one included
  std::uint32_t rest_bytes = 0;  ///< at most so many bytes complete the text
  std::uint64_t hash = 0;
};
bool same(const Reading& a, const Reading& b);
/// Whether an object may not have the additional key `spelling` (again).
bool is_taken(const ObjectShape& shape, const Frame& object, const std::string& spelling);

/// Whether separators have a space behind them, which the first one of a text decides.
enum class Spacing : std::uint8_t { undecided, none, single };

/// Where a text stands: every way to read it so far.
struct Position {
  std::vector<Reading> readings;  ///< different from each other; empty: not admitted
  Spacing spacing = Spacing::undecided;

  bool dead() const { return readings.empty(); }
};

/// A grammar as a pushdown automaton over bytes. Every position it reaches can be completed.
/// Immutable; any thread.
class Automaton {
 public:
  explicit Automaton(Grammar grammar);

  Position start() const;
  /// Behind one more byte.
  Position next(const Position& position, unsigned char byte) const;
  Position next(Position position, std::string_view text) const;
  /// Whether the text may end here, and whether it must.
  bool may_end(const Position& position) const;
  bool must_end(const Position& position) const;
  /// The only byte that can follow, where the text cannot end and there is but one.
  std::optional<unsigned char> only_byte(const Position& position) const;

  /// A short completion: strings are closed, required members filled in with the shortest
  /// values. Not always the shortest where choices are open.
  std::string complete(const Position& position) const;
  /// At most so many bytes.
  std::uint32_t rest_bytes(const Position& position) const;

  const Grammar& grammar() const { return grammar_; }

  /// The same reading with another place in the string on top.
  Reading moved(const Reading& top, const StringPlace& place) const;
  /// For an additional key on top: what follows its closing quote, whatever the rest of the key. False
  /// where that is not the same for all of them: a key that is taken begins like this one.
  bool close_new_key(const Reading& top, Reading& closed) const;

 private:
  void step(const Reading& top, unsigned char byte, Spacing spacing, std::vector<Reading>& out) const;
  void open(const Alternative& alternative, const Reading& below, unsigned char byte,
            std::vector<Reading>& out) const;
  void step_array(const Stack& top, unsigned char byte, Spacing spacing, std::vector<Reading>& out) const;
  /// Behind '[' (first) or ',': the item's node under the array as it will be then.
  void begin_item(const Stack& top, Frame array, NodeId node, unsigned char byte, Spacing spacing,
                  std::vector<Reading>& out) const;
  void step_object(const Stack& top, unsigned char byte, Spacing spacing, std::vector<Reading>& out) const;
  void step_string(const Reading& top, unsigned char byte, std::vector<Reading>& out) const;
  void open_keys(const Stack& top, std::vector<Reading>& out) const;
  bool may_come(const ObjectShape& shape, const Frame& object, std::size_t property) const;
  bool may_have_more(const ObjectShape& shape, const Frame& object) const;
  bool may_have_additional(const ObjectShape& shape, const Frame& object) const;
  /// False where the closing quote may not come. `closed` may be null: the whole text is read.
  bool close_string(const Reading& top, Reading& closed) const;
  bool key_can_end(const Stack& key, const Frame& frame) const;

  Reading push(Frame frame, const Reading& below) const;
  std::uint32_t frame_bytes(const Frame& frame, const Reading& below) const;

  Grammar grammar_;
};

}  // namespace reelfolio::engine::constraint
