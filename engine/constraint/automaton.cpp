#include "engine/constraint/automaton.h"

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

#include "engine/constraint/completion.h"

namespace reelfolio::engine::constraint {

namespace {

/// Readings of an ambiguous schema that are followed side by side. With more, later ones are
/// left out: then some texts are not admitted, but none that should not be.
constexpr std::size_t kMaxReadings = 512;

using Kind = Frame::Kind;

std::uint64_t mixed(std::uint64_t hash, std::uint64_t value) {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15ULL;
  return hash ^ (hash >> 29);
}

bool same_names(const Frame& a, const Frame& b) {
  if (a.names == b.names) return true;
  return a.names && b.names && *a.names == *b.names;
}

bool same_frame(const Frame& a, const Frame& b) {
  return a.kind == b.kind && a.phase == b.phase && a.shape == b.shape && a.next == b.next &&
         a.count == b.count && a.property == b.property && a.place == b.place && same_names(a, b);
}

void add(std::vector<Reading>& out, Reading reading) {
  if (out.size() >= kMaxReadings) return;
  for (const Reading& known : out) {
    if (same(known, reading)) return;
  }
  out.push_back(std::move(reading));
}

bool begins_with(const std::string& text, const std::string& prefix) {
  return text.compare(0, prefix.size(), prefix) == 0;
}

}  // namespace

bool is_taken(const ObjectShape& shape, const Frame& object, const std::string& spelling) {
  return std::binary_search(shape.taken.begin(), shape.taken.end(), spelling) ||
         (object.names && std::binary_search(object.names->begin(), object.names->end(), spelling));
}

bool same(const Reading& a, const Reading& b) {
  const Stack* x = a.get();
  const Stack* y = b.get();
  while (x != y) {
    if (x == nullptr || y == nullptr || x->hash != y->hash || !same_frame(x->frame, y->frame)) return false;
    x = x->below.get();
    y = y->below.get();
  }
  return true;
}

Automaton::Automaton(Grammar grammar) : grammar_(std::move(grammar)) {}

Reading Automaton::push(Frame frame, const Reading& below) const {
  auto stack = std::make_shared<Stack>();
  const bool is_container = frame.kind == Kind::array || frame.kind == Kind::object;
  stack->depth = (below ? below->depth : 0) + (is_container ? 1 : 0);
  stack->rest_bytes = longer(below ? below->rest_bytes : 0, frame_bytes(frame, below));
  std::uint64_t hash = below ? below->hash : 0;
  hash = mixed(hash, static_cast<std::uint64_t>(frame.kind) << 8 | frame.phase);
  hash = mixed(hash, std::uint64_t{frame.shape} << 32 | frame.next);
  hash = mixed(hash, std::uint64_t{frame.count} << 32 | frame.property);
  hash = mixed(hash, std::uint64_t{frame.place.state} << 32 | frame.place.chars);
  hash = mixed(hash, std::uint64_t{frame.place.escape} << 8 | frame.place.mode);
  if (frame.names) {
    for (const std::string& name : *frame.names) hash = mixed(hash, std::hash<std::string>()(name));
  }
  stack->hash = hash;
  stack->frame = std::move(frame);
  stack->below = below;
  return stack;
}

Position Automaton::start() const {
  Frame frame;
  frame.shape = grammar_.root;
  return {{push(frame, nullptr)}, Spacing::undecided};
}

Position Automaton::next(const Position& position, unsigned char byte) const {
  Position after;
  after.spacing = position.spacing;
  // All readings agree on what in the text is a separator.
  if (position.spacing == Spacing::undecided && !position.readings.empty() && position.readings.front()) {
    const Frame& top = position.readings.front()->frame;
    const bool behind_separator = (top.kind == Kind::value && top.phase == 1) ||
                                  (top.kind == Kind::object && top.phase == Frame::behind_comma);
    if (behind_separator) after.spacing = byte == ' ' ? Spacing::single : Spacing::none;
  }
  for (const Reading& reading : position.readings) step(reading, byte, position.spacing, after.readings);
  return after;
}

Position Automaton::next(Position position, std::string_view text) const {
  for (const char c : text) {
    if (position.dead()) break;
    position = next(position, static_cast<unsigned char>(c));
  }
  return position;
}

bool Automaton::may_end(const Position& position) const {
  return std::any_of(position.readings.begin(), position.readings.end(), [&](const Reading& top) {
    if (!top) return true;
    const Frame& frame = top->frame;
    return !top->below && frame.kind == Kind::text && grammar_.texts[frame.shape].accepts(frame.place.state);
  });
}

bool Automaton::must_end(const Position& position) const {
  return !position.dead() && std::all_of(position.readings.begin(), position.readings.end(),
                                         [](const Reading& top) { return !top; });
}

std::optional<unsigned char> Automaton::only_byte(const Position& position) const {
  if (position.dead() || may_end(position)) return std::nullopt;
  if (position.readings.size() == 1) {
    const Frame& top = position.readings.front()->frame;
    if (top.kind == Kind::key) {
      return static_cast<unsigned char>(
          grammar_.objects[top.shape].properties[top.property].spelling[top.next]);
    }
    if (top.kind == Kind::string && grammar_.strings[top.shape].free) return std::nullopt;
  }
  std::optional<unsigned char> only;
  std::vector<Reading> out;
  for (unsigned b = 0; b < 256; ++b) {
    out.clear();
    for (const Reading& reading : position.readings) {
      step(reading, static_cast<unsigned char>(b), position.spacing, out);
      if (!out.empty()) break;
    }
    if (out.empty()) continue;
    if (only) return std::nullopt;
    only = static_cast<unsigned char>(b);
  }
  return only;
}

void Automaton::step(const Reading& top, unsigned char byte, Spacing spacing,
                     std::vector<Reading>& out) const {
  if (!top) return;
  const Frame& frame = top->frame;
  switch (frame.kind) {
    case Kind::value:
      if (frame.phase == 1) {
        if (byte == ' ') {
          if (spacing == Spacing::none) return;
          Frame value = frame;
          value.phase = 0;
          return add(out, push(std::move(value), top->below));
        }
        if (spacing == Spacing::single) return;
      }
      for (const Alternative& each : grammar_.nodes[frame.shape].alternatives)
        open(each, top->below, byte, out);
      return;
    case Kind::text: {
      const Dfa& dfa = grammar_.texts[frame.shape];
      const Dfa::State next = dfa.next(frame.place.state, byte);
      if (next != Dfa::kDead) {
        if (dfa.is_final(next)) return add(out, top->below);
        Frame text = frame;
        text.place.state = next;
        return add(out, push(std::move(text), top->below));
      }
      if (dfa.accepts(frame.place.state)) step(top->below, byte, spacing, out);
      return;
    }
    case Kind::string:
      return step_string(top, byte, out);
    case Kind::array:
      return step_array(*top, byte, spacing, out);
    case Kind::object:
      return step_object(*top, byte, spacing, out);
    case Kind::key: {
      const std::string& spelling = grammar_.objects[frame.shape].properties[frame.property].spelling;
      if (byte != static_cast<unsigned char>(spelling[frame.next])) return;
      if (frame.next + 1 == spelling.size()) return add(out, top->below);
      Frame key = frame;
      ++key.next;
      return add(out, push(std::move(key), top->below));
    }
    case Kind::colon:
      if (byte == ':') add(out, top->below);
      return;
  }
}

void Automaton::open(const Alternative& alternative, const Reading& below, unsigned char byte,
                     std::vector<Reading>& out) const {
  Frame frame;
  frame.shape = alternative.shape;
  const std::size_t depth = below ? below->depth : 0;
  switch (alternative.kind) {
    case Alternative::Kind::text: {
      const Dfa& dfa = grammar_.texts[alternative.shape];
      const Dfa::State next = dfa.next(dfa.start(), byte);
      if (next == Dfa::kDead) return;
      if (dfa.is_final(next)) return add(out, below);
      frame.kind = Kind::text;
      frame.place.state = next;
      break;
    }
    case Alternative::Kind::string:
      if (byte != '"') return;
      frame.kind = Kind::string;
      frame.place.state = grammar_.strings[alternative.shape].content.start();
      break;
    case Alternative::Kind::array:
      if (byte != '[' || depth + grammar_.arrays[alternative.shape].height > grammar_.max_depth) return;
      frame.kind = Kind::array;
      break;
    case Alternative::Kind::object:
      if (byte != '{' || depth + grammar_.objects[alternative.shape].height > grammar_.max_depth) return;
      frame.kind = Kind::object;
      break;
  }
  add(out, push(std::move(frame), below));
}

void Automaton::step_array(const Stack& top, unsigned char byte, Spacing spacing,
                           std::vector<Reading>& out) const {
  const ArrayShape& shape = grammar_.arrays[top.frame.shape];
  const std::size_t count = top.frame.count;
  const std::size_t missing =
      shape.min_contained > top.frame.next && shape.unique.empty() ? shape.min_contained - top.frame.next : 0;
  if (byte == ']') {
    if (count >= shape.min && missing == 0) add(out, top.below);
    return;
  }
  if (count >= shape.max) return;
  if (top.frame.phase != 0 && byte != ',') return;
  Frame array = top.frame;
  array.phase = 1;
  ++array.count;
  if (shape.max == static_cast<std::size_t>(-1)) {
    // Beyond this a count changes nothing.
    array.count = static_cast<std::uint32_t>(
        std::min<std::size_t>(array.count, std::max({shape.min, shape.prefix.size(), std::size_t{1}})));
  }
  for (std::size_t i = 0; i < shape.unique.size(); ++i) {
    if ((array.used_items() >> i & 1) != 0) continue;
    Frame with_item = array;
    with_item.use_item(i);
    begin_item(top, std::move(with_item), shape.unique[i], byte, spacing, out);
  }
  if (!shape.unique.empty()) return;
  if (missing > 0) {
    Frame with_item = array;
    ++with_item.next;
    begin_item(top, std::move(with_item), shape.contained, byte, spacing, out);
  }
  // The missing ones must find room behind it.
  if (shape.max - count > missing) begin_item(top, std::move(array), shape.item(count), byte, spacing, out);
}

void Automaton::begin_item(const Stack& top, Frame array, NodeId node, unsigned char byte, Spacing spacing,
                           std::vector<Reading>& out) const {
  const bool is_first = top.frame.phase == 0;
  Frame value;
  value.shape = node;
  value.phase = is_first ? 0 : 1;
  const Reading item = push(value, push(std::move(array), top.below));
  if (is_first) {
    step(item, byte, spacing, out);
  } else {
    add(out, item);
  }
}

bool Automaton::may_have_additional(const ObjectShape& shape, const Frame& object) const {
  return !shape.additional.empty() && shape.required_count[object.next] == 0 && object.count < shape.max;
}

bool Automaton::may_come(const ObjectShape& shape, const Frame& object, std::size_t property) const {
  // Between it and the one before it nothing is required (the caller sees to that). What is
  // required behind it must find room, and what is missing must be there to come.
  const std::size_t count = std::size_t{object.count} + 1;
  const std::size_t behind = shape.properties.size() - property - 1;
  return count + shape.required_count[property + 1] <= shape.max &&
         (count + behind >= shape.min || !shape.additional.empty());
}

bool Automaton::may_have_more(const ObjectShape& shape, const Frame& object) const {
  for (std::size_t i = object.next; i < shape.properties.size(); ++i) {
    if (may_come(shape, object, i)) return true;
    if (shape.properties[i].required) break;
  }
  return may_have_additional(shape, object);
}

void Automaton::open_keys(const Stack& top, std::vector<Reading>& out) const {
  const ObjectShape& shape = grammar_.objects[top.frame.shape];
  for (std::size_t i = top.frame.next; i < shape.properties.size(); ++i) {
    if (may_come(shape, top.frame, i)) {
      Frame object = top.frame;
      object.phase = Frame::behind_member;
      object.next = static_cast<std::uint32_t>(i + 1);
      ++object.count;
      if (shape.max == static_cast<std::size_t>(-1))
        object.count = static_cast<std::uint32_t>(std::min<std::size_t>(object.count, shape.min));
      Frame value;
      value.shape = shape.properties[i].node;
      value.phase = 1;
      Frame key;
      key.kind = Kind::key;
      key.shape = top.frame.shape;
      key.property = static_cast<std::uint32_t>(i);
      key.next = 1;
      add(out, push(key, push(value, push(std::move(object), top.below))));
    }
    if (shape.properties[i].required) break;
  }
  if (!may_have_additional(shape, top.frame)) return;
  for (std::uint32_t i = 0; i < shape.additional.size(); ++i) {
    Frame object = top.frame;
    object.phase = Frame::in_key;
    object.next = static_cast<std::uint32_t>(shape.properties.size());
    object.property = i;
    const Reading below = push(std::move(object), top.below);
    Frame key;
    key.kind = Kind::string;
    key.shape = shape.additional[i].keys;
    key.place.state = grammar_.strings[key.shape].content.start();
    key.names = std::make_shared<const std::vector<std::string>>(1);
    if (key_can_end(*below, key)) add(out, push(std::move(key), below));
  }
}

void Automaton::step_object(const Stack& top, unsigned char byte, Spacing spacing,
                            std::vector<Reading>& out) const {
  const ObjectShape& shape = grammar_.objects[top.frame.shape];
  const std::uint8_t phase = top.frame.phase;
  const bool may_close = phase == Frame::opened || phase == Frame::behind_member;
  if (byte == '}' && may_close) {
    if (shape.required_count[top.frame.next] == 0 && top.frame.count >= shape.min) add(out, top.below);
    return;
  }
  Frame object = top.frame;
  if (byte == ',' && phase == Frame::behind_member && may_have_more(shape, top.frame)) {
    object.phase = Frame::behind_comma;
    return add(out, push(std::move(object), top.below));
  }
  if (byte == ' ' && phase == Frame::behind_comma && spacing != Spacing::none) {
    object.phase = Frame::behind_space;
    return add(out, push(std::move(object), top.below));
  }
  const bool key_is_due = phase == Frame::opened || phase == Frame::behind_space ||
                          (phase == Frame::behind_comma && spacing != Spacing::single);
  if (byte == '"' && key_is_due) open_keys(top, out);
}

bool Automaton::key_can_end(const Stack& below, const Frame& frame) const {
  const StringShape& keys = grammar_.strings[frame.shape];
  if (keys.free || frame.place.mode != StringPlace::plain) return true;
  const std::uint32_t left = keys.rest_texts[frame.place.state];
  if (left == Dfa::kDead) return true;
  const ObjectShape& shape = grammar_.objects[below.frame.shape];
  const std::string& prefix = frame.names->front();
  std::size_t taken = 0;
  const auto count = [&](const std::vector<std::string>& names) {
    for (const std::string& name : names) {
      if (begins_with(name, prefix) && completes_key(keys, frame.place, name.substr(prefix.size()))) ++taken;
    }
  };
  count(shape.taken);
  if (below.frame.names) count(*below.frame.names);
  return left > taken;
}

Reading Automaton::moved(const Reading& top, const StringPlace& place) const {
  Frame frame = top->frame;
  frame.place = place;
  return push(std::move(frame), top->below);
}

bool Automaton::close_new_key(const Reading& top, Reading& closed) const {
  const std::string& prefix = top->frame.names->front();
  const auto begins_one = [&](const std::vector<std::string>& names) {
    const auto at = std::lower_bound(names.begin(), names.end(), prefix);
    return at != names.end() && begins_with(*at, prefix);
  };
  const Frame& object = top->below->frame;
  if (begins_one(grammar_.objects[object.shape].taken) || (object.names && begins_one(*object.names)))
    return false;
  StringPlace place;
  place.state = grammar_.strings[top->frame.shape].content.start();
  return close_string(moved(top, place), closed);
}

bool Automaton::close_string(const Reading& top, Reading& closed) const {
  const Frame& frame = top->frame;
  if (!may_close(grammar_.strings[frame.shape], frame.place)) return false;
  if (!frame.names) {
    closed = top->below;
    return true;
  }
  const Stack& below = *top->below;
  const ObjectShape& shape = grammar_.objects[below.frame.shape];
  const std::string& spelling = frame.names->front();
  if (is_taken(shape, below.frame, spelling)) return false;
  Frame object = below.frame;
  object.phase = Frame::behind_member;
  object.property = 0;
  ++object.count;
  if (shape.max == static_cast<std::size_t>(-1))
    object.count = static_cast<std::uint32_t>(std::min<std::size_t>(object.count, shape.min));
  auto names = object.names ? *object.names : std::vector<std::string>();
  names.insert(std::upper_bound(names.begin(), names.end(), spelling), spelling);
  object.names = std::make_shared<const std::vector<std::string>>(std::move(names));
  Frame value;
  value.shape = shape.additional[below.frame.property].node;
  value.phase = 1;
  Frame colon;
  colon.kind = Kind::colon;
  closed = push(colon, push(value, push(std::move(object), below.below)));
  return true;
}

void Automaton::step_string(const Reading& top, unsigned char byte, std::vector<Reading>& out) const {
  if (byte == '"' && top->frame.place.mode == StringPlace::plain) {
    Reading closed;
    if (close_string(top, closed)) add(out, std::move(closed));
    return;
  }
  Frame frame = top->frame;
  if (!read_string_byte(grammar_.strings[frame.shape], frame.place, byte)) return;
  if (frame.names) {
    frame.names =
        std::make_shared<const std::vector<std::string>>(1, frame.names->front() + static_cast<char>(byte));
    if (!key_can_end(*top->below, frame)) return;
  }
  add(out, push(std::move(frame), top->below));
}

std::uint32_t Automaton::frame_bytes(const Frame& frame, const Reading& below) const {
  switch (frame.kind) {
    case Kind::value:
      return longer(grammar_.nodes[frame.shape].bytes, frame.phase);
    case Kind::text:
      return grammar_.texts[frame.shape].rest_bytes(frame.place.state);
    case Kind::string:
      return frame.names ? static_cast<std::uint32_t>(key_rest(grammar_, frame, below->frame).size()) + 1
                         : string_rest_bytes(grammar_.strings[frame.shape], frame.place);
    case Kind::array:
      return longer(1, missing_item_bytes(grammar_, grammar_.arrays[frame.shape], frame.count, frame.next,
                                          frame.used_items()));
    case Kind::object: {
      const ObjectShape& shape = grammar_.objects[frame.shape];
      std::uint32_t total = longer(1, shape.required_bytes[frame.next]);
      std::size_t count = frame.count;
      if (frame.phase == Frame::in_key) {
        total = longer(total, std::uint64_t{grammar_.nodes[shape.additional[frame.property].node].bytes} + 2 +
                                  kSeparatorBytes);
        ++count;
      }
      count += shape.required_count[frame.next];
      std::size_t more = shape.min - std::min(shape.min, count);
      // A comma promises a member.
      const bool behind_comma = frame.phase == Frame::behind_comma || frame.phase == Frame::behind_space;
      if (behind_comma && more == 0 && shape.required_count[frame.next] == 0) more = 1;
      return more > 0 ? longer(total, more * std::uint64_t{shape.extra_bytes}) : total;
    }
    case Kind::key:
      return static_cast<std::uint32_t>(
                 grammar_.objects[frame.shape].properties[frame.property].spelling.size()) -
             frame.next;
    case Kind::colon:
      return 1;
  }
  return 0;
}

std::uint32_t Automaton::rest_bytes(const Position& position) const {
  std::uint32_t least = kUnending;
  for (const Reading& top : position.readings) least = std::min(least, top ? top->rest_bytes : 0);
  return least;
}

std::string Automaton::complete(const Position& position) const {
  const Reading* best = nullptr;
  for (const Reading& top : position.readings) {
    if (!top) return {};
    if (best == nullptr || top->rest_bytes < (*best)->rest_bytes) best = &top;
  }
  return best == nullptr ? std::string()
                         : Completion(grammar_, position.spacing == Spacing::single).of(**best);
}

}  // namespace reelfolio::engine::constraint
