#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "engine/constraint/dfa.h"

/// A schema as a grammar: nodes, each a choice of shapes, which refer to nodes.
namespace reelfolio::engine::constraint {

using NodeId = std::uint32_t;

/// Longer than any answer: of a node that no text satisfies.
inline constexpr std::uint32_t kUnending = std::numeric_limits<std::uint32_t>::max();

/// Adds lengths; kUnending swallows everything.
inline std::uint32_t longer(std::uint32_t a, std::uint64_t b) {
  return a == kUnending || b >= kUnending || a + b >= kUnending ? kUnending
                                                                : static_cast<std::uint32_t>(a + b);
}

/// Which characters of a string may be spelled as escapes.
enum class Escapes : std::uint8_t {
  all,        ///< any: the string may hold anything
  not_ascii,  ///< where they must be, and \u.... for what lies beyond ASCII
  needed      ///< only where they must be
};

struct StringShape {
  Dfa content;  ///< of its characters, in UTF-8
  /// Content is any text. Only then is there a least number of characters.
  bool free = false;
  std::size_t min_chars = 0;
  std::size_t max_chars = 0;
  Escapes escapes = Escapes::all;
  /// By state of `content`: fewest characters up to an accepting state, and fewest bytes, as
  /// spelled, of so many characters. Filled by finish().
  std::vector<std::uint32_t> rest_chars, rest_bytes;
  std::uint32_t most_rest_chars = 0;
  /// By state: the byte that begins them.
  std::vector<unsigned char> shortest_byte;
  /// By state: texts up to an accepting state; kUnending for very many. Of keys alone.
  std::vector<std::uint32_t> rest_texts;

  /// Fills the tables; false where no string is left.
  bool finish();
};

struct ArrayShape {
  std::vector<NodeId> prefix;
  NodeId items = 0;  ///< of what follows the prefix
  std::size_t min = 0;
  std::size_t max = 0;
  /// At least so many items are of the node `contained`, all of whose values `items` has. Without prefix.
  std::size_t min_contained = 0;
  NodeId contained = 0;
  /// If not empty: items are of these nodes, of one value each, none of them twice. Without prefix.
  std::vector<NodeId> unique;
  std::uint32_t height = 0;  ///< levels of its shortest value, itself included

  NodeId item(std::size_t index) const { return index < prefix.size() ? prefix[index] : items; }
};

struct Property {
  std::string name;      ///< as it is
  std::string spelling;  ///< "\"name\":"
  NodeId node = 0;
  bool required = false;
};

/// Keys of additional properties that share a schema.
struct KeyClass {
  std::uint32_t keys = 0;  ///< string shape
  NodeId node = 0;
  std::uint32_t key_bytes = 0;  ///< longest key that completion needs to find, quotes included
};

/// Nodes of ArrayShape::unique, a bit each in a frame.
inline constexpr std::size_t kMaxUniqueItems = 64;

struct ObjectShape {
  std::vector<Property> properties;
  std::vector<KeyClass> additional;
  /// Spelled names (without quotes) that no additional key may have, sorted.
  std::vector<std::string> taken;
  std::size_t min = 0;
  std::size_t max = 0;
  /// Bytes, separators included, of the required ones of properties i and on.
  std::vector<std::uint32_t> required_bytes;
  std::vector<std::uint32_t> required_count;
  /// Most bytes that one more property takes, for `min`.
  std::uint32_t extra_bytes = 0;
  std::uint32_t height = 0;  ///< as of an array
};

struct Alternative {
  enum class Kind : std::uint8_t {
    text,  ///< a whole value as bytes: literals and numbers
    string,
    array,
    object
  };
  Kind kind = Kind::text;
  std::uint32_t shape = 0;
};

struct Node {
  std::vector<Alternative> alternatives;
  /// Length of a short value and how deep it nests; kUnending where there is none.
  std::uint32_t bytes = kUnending;
  std::uint32_t height = 0;
  std::size_t shortest = 0;  ///< the alternative that has it
};

struct Grammar {
  std::vector<Dfa> texts;
  std::vector<StringShape> strings;
  std::vector<ArrayShape> arrays;
  std::vector<ObjectShape> objects;
  std::vector<Node> nodes;
  NodeId root = 0;
  std::size_t max_depth = 0;
  /// Values stand as JSON; else the root's text alternatives are the bare answer.
  bool json = true;
};

/// Bytes between two items or members, and behind a key: the longer spelling of the two.
inline constexpr std::uint32_t kSeparatorBytes = 2;

/// Of an array's unique items the unused ones (their bits in `used` are not set), cheapest first.
std::vector<std::size_t> unused_items(const Grammar& grammar, const ArrayShape& shape, std::uint64_t used);

/// Most bytes, separators included, of the items that an array with `count` items, `contained` of them
/// counted, still needs.
std::uint32_t missing_item_bytes(const Grammar& grammar, const ArrayShape& shape, std::size_t count,
                                 std::size_t contained, std::uint64_t used);

/// The spelling of a string's content with the needed escapes alone, without quotes.
/// `text` is UTF-8.
std::string spell(const std::string& text);

}  // namespace reelfolio::engine::constraint
