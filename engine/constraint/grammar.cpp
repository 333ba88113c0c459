#include "engine/constraint/grammar.h"

#include <algorithm>
#include <array>
#include <queue>
#include <utility>

#include "engine/constraint/grammar_builder.h"

namespace reelfolio::engine::constraint {

namespace {

/// Bytes that a content byte takes in a string's spelling.
std::uint32_t spelled_bytes(unsigned char byte) {
  switch (byte) {
    case '"':
    case '\\':
    case '\b':
    case '\f':
    case '\n':
    case '\r':
    case '\t':
      return 2;
    default:
      return byte < 0x20 ? 6 : 1;
  }
}

/// Characters in the upper half, so that fewest characters come before fewest bytes.
std::uint64_t path_cost(unsigned char byte) {
  const bool begins_character = (byte & 0xC0) != 0x80;
  return (std::uint64_t{begins_character} << 32) | spelled_bytes(byte);
}

constexpr std::uint64_t kUnreached = std::numeric_limits<std::uint64_t>::max();

/// Cost of the cheapest path from each state to an accepting one (Dijkstra, backwards), and the
/// byte that it begins with.
std::vector<std::uint64_t> cheapest_paths(const Dfa& dfa, std::vector<unsigned char>& bytes) {
  struct Edge {
    Dfa::State from;
    std::uint64_t cost;
    unsigned char byte;
  };
  std::vector<std::vector<Edge>> before(dfa.size());
  for (Dfa::State state = 0; state < dfa.size(); ++state) {
    std::vector<std::pair<Dfa::State, Edge>> edges;
    for (std::size_t b = 0; b < 256; ++b) {
      const auto byte = static_cast<unsigned char>(b);
      const Dfa::State to = dfa.next(state, byte);
      if (to == Dfa::kDead) continue;
      const auto known =
          std::find_if(edges.begin(), edges.end(), [&](const auto& each) { return each.first == to; });
      if (known == edges.end()) {
        edges.push_back({to, {state, path_cost(byte), byte}});
      } else if (path_cost(byte) < known->second.cost) {
        known->second = {state, path_cost(byte), byte};
      }
    }
    for (const auto& [to, edge] : edges) before[to].push_back(edge);
  }
  std::vector<std::uint64_t> total(dfa.size(), kUnreached);
  bytes.assign(dfa.size(), 0);
  using Entry = std::pair<std::uint64_t, Dfa::State>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue;
  for (Dfa::State state = 0; state < dfa.size(); ++state) {
    if (!dfa.accepts(state)) continue;
    total[state] = 0;
    queue.push({0, state});
  }
  while (!queue.empty()) {
    const auto [at, state] = queue.top();
    queue.pop();
    if (at > total[state]) continue;
    for (const Edge& edge : before[state]) {
      if (at + edge.cost >= total[edge.from]) continue;
      total[edge.from] = at + edge.cost;
      bytes[edge.from] = edge.byte;
      queue.push({total[edge.from], edge.from});
    }
  }
  return total;
}

std::uint32_t property_bytes(const Grammar& grammar, const Property& property) {
  return longer(grammar.nodes[property.node].bytes, property.spelling.size() + 1 + kSeparatorBytes);
}

std::uint32_t additional_bytes(const Grammar& grammar, const KeyClass& keys) {
  return longer(grammar.nodes[keys.node].bytes, keys.key_bytes + 2 + kSeparatorBytes);
}

std::uint32_t array_bytes(const Grammar& grammar, const ArrayShape& shape) {
  if (std::max(shape.min, shape.min_contained) > shape.max) return kUnending;
  return longer(2, missing_item_bytes(grammar, shape, 0, 0, 0));
}

std::uint32_t object_bytes(const Grammar& grammar, const ObjectShape& shape) {
  std::uint32_t total = 2;
  std::size_t count = 0;
  std::vector<std::uint32_t> others;
  for (const Property& property : shape.properties) {
    const std::uint32_t bytes = property_bytes(grammar, property);
    if (property.required) {
      total = longer(total, bytes);
      ++count;
    } else if (bytes != kUnending) {
      others.push_back(bytes);
    }
  }
  if (total == kUnending || count > shape.max || shape.min > shape.max) return kUnending;
  if (count >= shape.min) return total;
  std::sort(others.begin(), others.end());
  std::uint32_t more = kUnending;
  for (const KeyClass& keys : shape.additional) more = std::min(more, additional_bytes(grammar, keys));
  for (std::size_t i = 0; i < shape.min - count; ++i) {
    total = longer(total, i < others.size() ? others[i] : more);
    if (total == kUnending) break;
  }
  return total;
}

std::uint32_t bytes_of(const Grammar& grammar, const Alternative& each) {
  switch (each.kind) {
    case Alternative::Kind::text: {
      const Dfa& dfa = grammar.texts[each.shape];
      return dfa.empty() ? kUnending : dfa.rest_bytes(dfa.start());
    }
    case Alternative::Kind::string: {
      const StringShape& shape = grammar.strings[each.shape];
      const std::uint32_t content =
          shape.free ? static_cast<std::uint32_t>(shape.min_chars) : shape.rest_bytes[shape.content.start()];
      return longer(content, 2);
    }
    case Alternative::Kind::array:
      return array_bytes(grammar, grammar.arrays[each.shape]);
    case Alternative::Kind::object:
      return object_bytes(grammar, grammar.objects[each.shape]);
  }
  return kUnending;
}

std::uint32_t height_of(const Grammar& grammar, const Alternative& each) {
  std::uint32_t below = 0;
  const auto over = [&](NodeId node) {
    if (grammar.nodes[node].bytes != kUnending) below = std::max(below, grammar.nodes[node].height);
  };
  if (each.kind == Alternative::Kind::array) {
    const ArrayShape& shape = grammar.arrays[each.shape];
    for (std::size_t i = 0; i < std::min(shape.min, shape.prefix.size() + 1); ++i) over(shape.item(i));
    if (shape.min_contained > 0) over(shape.contained);
    if (shape.min > 0) std::for_each(shape.unique.begin(), shape.unique.end(), over);
    return below + 1;
  }
  if (each.kind == Alternative::Kind::object) {
    const ObjectShape& shape = grammar.objects[each.shape];
    for (const Property& property : shape.properties) {
      if (property.required) over(property.node);
    }
    return below + 1;
  }
  return 0;
}

void finish_shapes(Grammar& grammar) {
  const auto unending = [&](NodeId node) { return grammar.nodes[node].bytes == kUnending; };
  for (ArrayShape& shape : grammar.arrays) {
    for (std::size_t i = 0; i < shape.prefix.size(); ++i) {
      if (unending(shape.prefix[i])) shape.max = std::min(shape.max, i);
    }
    if (unending(shape.items)) shape.max = std::min(shape.max, shape.prefix.size());
    if (!shape.unique.empty()) shape.max = std::min(shape.max, shape.unique.size());
  }
  for (ObjectShape& shape : grammar.objects) {
    std::erase_if(shape.properties,
                  [&](const Property& each) { return !each.required && unending(each.node); });
    std::erase_if(shape.additional, [&](const KeyClass& each) { return unending(each.node); });
    const std::size_t count = shape.properties.size();
    shape.required_bytes.assign(count + 1, 0);
    shape.required_count.assign(count + 1, 0);
    for (std::size_t i = count; i-- > 0;) {
      const Property& property = shape.properties[i];
      const std::uint32_t bytes = property_bytes(grammar, property);
      shape.required_bytes[i] = longer(shape.required_bytes[i + 1], property.required ? bytes : 0);
      shape.required_count[i] = shape.required_count[i + 1] + (property.required ? 1 : 0);
      if (bytes != kUnending) shape.extra_bytes = std::max(shape.extra_bytes, bytes);
    }
    for (const KeyClass& keys : shape.additional) {
      shape.extra_bytes = std::max(shape.extra_bytes, additional_bytes(grammar, keys));
    }
  }
}

}  // namespace

std::vector<std::size_t> unused_items(const Grammar& grammar, const ArrayShape& shape, std::uint64_t used) {
  std::vector<std::size_t> unused;
  for (std::size_t i = 0; i < shape.unique.size(); ++i) {
    if ((used >> i & 1) == 0) unused.push_back(i);
  }
  std::stable_sort(unused.begin(), unused.end(), [&](std::size_t a, std::size_t b) {
    return grammar.nodes[shape.unique[a]].bytes < grammar.nodes[shape.unique[b]].bytes;
  });
  return unused;
}

std::uint32_t missing_item_bytes(const Grammar& grammar, const ArrayShape& shape, std::size_t count,
                                 std::size_t contained, std::uint64_t used) {
  const auto items = [&](NodeId node, std::size_t number) {
    const std::uint32_t each = grammar.nodes[node].bytes;
    return number == 0         ? 0
           : each == kUnending ? kUnending
                               : longer(0, number * (each + std::uint64_t{kSeparatorBytes}));
  };
  std::uint32_t total = 0;
  if (!shape.unique.empty()) {
    const std::vector<std::size_t> unused = unused_items(grammar, shape, used);
    for (std::size_t i = 0; count < shape.min; ++count, ++i)
      total = longer(total, i < unused.size() ? items(shape.unique[unused[i]], 1) : kUnending);
    return total;
  }
  for (; count < std::min(shape.min, shape.prefix.size()); ++count)
    total = longer(total, items(shape.prefix[count], 1));
  if (contained < shape.min_contained) {
    total = longer(total, items(shape.contained, shape.min_contained - contained));
    count += shape.min_contained - contained;
  }
  return count < shape.min ? longer(total, items(shape.items, shape.min - count)) : total;
}

std::string spell(const std::string& text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (byte < 0x20) {
          out += "\\u00";
          out += kHex[byte >> 4];
          out += kHex[byte & 15];
        } else {
          out += c;
        }
    }
  }
  return out;
}

bool StringShape::finish() {
  if (content.empty()) return false;
  rest_bytes.clear();
  rest_chars.clear();
  for (const std::uint64_t cost : cheapest_paths(content, shortest_byte)) {
    rest_chars.push_back(static_cast<std::uint32_t>(cost >> 32));
    rest_bytes.push_back(static_cast<std::uint32_t>(cost));
    most_rest_chars = std::max(most_rest_chars, rest_chars.back());
  }
  return true;
}

bool finish_grammar(Grammar& grammar) {
  for (bool changed = true; changed;) {
    changed = false;
    for (Node& node : grammar.nodes) {
      for (std::size_t i = 0; i < node.alternatives.size(); ++i) {
        const std::uint32_t bytes = bytes_of(grammar, node.alternatives[i]);
        if (bytes >= node.bytes) continue;
        node.bytes = bytes;
        node.shortest = i;
        changed = true;
      }
    }
  }
  if (grammar.nodes[grammar.root].bytes == kUnending) return false;
  for (Node& node : grammar.nodes) {
    std::vector<Alternative> kept;
    std::size_t shortest = 0;
    for (std::size_t i = 0; i < node.alternatives.size(); ++i) {
      if (bytes_of(grammar, node.alternatives[i]) == kUnending) continue;
      if (i == node.shortest) shortest = kept.size();
      kept.push_back(node.alternatives[i]);
    }
    node.alternatives = std::move(kept);
    node.shortest = shortest;
  }
  finish_shapes(grammar);
  // What the shortest value holds is shorter than it, so that this ends.
  for (bool changed = true; changed;) {
    changed = false;
    for (Node& node : grammar.nodes) {
      if (node.alternatives.empty()) continue;
      const std::uint32_t height = height_of(grammar, node.alternatives[node.shortest]);
      if (height == node.height) continue;
      node.height = height;
      changed = true;
    }
  }
  for (std::uint32_t i = 0; i < grammar.arrays.size(); ++i) {
    grammar.arrays[i].height = height_of(grammar, {Alternative::Kind::array, i});
  }
  for (std::uint32_t i = 0; i < grammar.objects.size(); ++i) {
    grammar.objects[i].height = height_of(grammar, {Alternative::Kind::object, i});
  }
  return true;
}

}  // namespace reelfolio::engine::constraint
