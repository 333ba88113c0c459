#include "engine/constraint/completion.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace reelfolio::engine::constraint {

namespace {

using Kind = Frame::Kind;

}  // namespace

bool completes_key(const StringShape& keys, StringPlace place, const std::string& rest) {
  return std::all_of(rest.begin(), rest.end(),
                     [&](char c) { return read_string_byte(keys, place, static_cast<unsigned char>(c)); }) &&
         may_close(keys, place);
}

std::string key_rest(const Grammar& grammar, const Frame& key, const Frame& object) {
  const ObjectShape& shape = grammar.objects[object.shape];
  const StringShape& keys = grammar.strings[key.shape];
  const std::string& prefix = key.names->front();
  std::string head = string_rest(keys, key.place);
  if (!is_taken(shape, object, prefix + head)) return head;
  // An escape that has begun ends in one way; behind it all texts are tried, short ones first.
  head.clear();
  StringPlace place = key.place;
  while (place.mode != StringPlace::plain) {
    const std::string rest = string_rest(keys, place);
    head += rest.front();
    read_string_byte(keys, place, static_cast<unsigned char>(rest.front()));
  }
  const std::size_t taken = shape.taken.size() + (object.names ? object.names->size() : 0);
  if (keys.free) {
    for (std::size_t i = 0;; ++i) {
      const std::string tail = keys.content.shortest_rest(place.state) + std::to_string(i);
      if (!is_taken(shape, object, prefix + head + tail)) return head + tail;
    }
  }
  for (const std::string& word : keys.content.words(place.state, taken + 1)) {
    std::string tail = head + spell(word);
    if (!is_taken(shape, object, prefix + tail)) return tail;
  }
  return head;
}

std::string Completion::of(const Stack& top) {
  const Stack* at = &top;
  while (at != nullptr) {
    const Frame& frame = at->frame;
    switch (frame.kind) {
      case Kind::value:
        if (frame.phase == 1 && spaced_) out_ += ' ';
        value(frame.shape);
        break;
      case Kind::text:
        out_ += grammar_.texts[frame.shape].shortest_rest(frame.place.state);
        break;
      case Kind::string: {
        const StringShape& keys = grammar_.strings[frame.shape];
        if (!frame.names) {
          out_ += string_rest(keys, frame.place) + '"';
          break;
        }
        // The object below goes on behind the key.
        at = at->below.get();
        Frame object = at->frame;
        const ObjectShape& shape = grammar_.objects[object.shape];
        const std::string rest = key_rest(grammar_, frame, object);
        out_ += rest + '"';
        colon();
        value(shape.additional[object.property].node);
        auto names = object.names ? *object.names : std::vector<std::string>();
        const std::string spelling = frame.names->front() + rest;
        names.insert(std::upper_bound(names.begin(), names.end(), spelling), spelling);
        object.names = std::make_shared<const std::vector<std::string>>(std::move(names));
        object.phase = Frame::behind_member;
        ++object.count;
        object_rest(shape, std::move(object));
        break;
      }
      case Kind::array:
        array_rest(grammar_.arrays[frame.shape], frame);
        break;
      case Kind::object:
        object_rest(grammar_.objects[frame.shape], frame);
        break;
      case Kind::key:
        out_ += grammar_.objects[frame.shape].properties[frame.property].spelling.substr(frame.next);
        break;
      case Kind::colon:
        out_ += ':';
        break;
    }
    at = at->below.get();
  }
  return std::move(out_);
}

void Completion::value(NodeId node) {
  const Node& chosen = grammar_.nodes[node];
  shape(chosen.alternatives[chosen.shortest]);
}

void Completion::shape(const Alternative& alternative) {
  switch (alternative.kind) {
    case Alternative::Kind::text: {
      const Dfa& dfa = grammar_.texts[alternative.shape];
      out_ += dfa.shortest_rest(dfa.start());
      return;
    }
    case Alternative::Kind::string: {
      const StringShape& text = grammar_.strings[alternative.shape];
      StringPlace place;
      place.state = text.content.start();
      out_ += '"' + string_rest(text, place) + '"';
      return;
    }
    case Alternative::Kind::array:
      out_ += '[';
      return array_rest(grammar_.arrays[alternative.shape], Frame());
    case Alternative::Kind::object: {
      out_ += '{';
      Frame object;
      object.kind = Kind::object;
      object.shape = alternative.shape;
      return object_rest(grammar_.objects[alternative.shape], std::move(object));
    }
  }
}

void Completion::array_rest(const ArrayShape& shape, const Frame& array) {
  bool is_first = array.phase == 0;
  std::size_t count = array.count;
  const auto item = [&](NodeId node) {
    if (!is_first) out_ += comma_;
    is_first = false;
    value(node);
    ++count;
  };
  if (!shape.unique.empty()) {
    for (const std::size_t i : unused_items(grammar_, shape, array.used_items())) {
      if (count >= shape.min) break;
      item(shape.unique[i]);
    }
  } else {
    for (std::size_t i = array.next; i < shape.min_contained; ++i) item(shape.contained);
    while (count < shape.min) item(shape.item(count));
  }
  out_ += ']';
}

void Completion::object_rest(const ObjectShape& shape, Frame object) {
  std::size_t missing = shape.min;
  missing -= std::min(missing, std::size_t{object.count} + shape.required_count[object.next]);
  // Of the optional ones the cheapest are filled in, as the node's length assumes.
  std::vector<std::pair<std::uint32_t, std::size_t>> optional;
  if (missing > 0) {
    for (std::size_t i = object.next; i < shape.properties.size(); ++i) {
      const Property& property = shape.properties[i];
      if (property.required) continue;
      optional.emplace_back(longer(grammar_.nodes[property.node].bytes, property.spelling.size()), i);
    }
    std::sort(optional.begin(), optional.end());
    optional.resize(std::min(optional.size(), missing));
    missing -= optional.size();
  }
  const auto is_chosen = [&](std::size_t i) {
    return std::any_of(optional.begin(), optional.end(), [&](const auto& each) { return each.second == i; });
  };
  // Behind a comma a space may be due, behind that a key.
  bool is_first = object.phase != Frame::behind_member;
  if (object.phase == Frame::behind_comma && spaced_) out_ += ' ';
  bool any = object.phase == Frame::opened || object.phase == Frame::behind_member;
  const auto begin_member = [&] {
    if (!is_first) out_ += comma_;
    is_first = false;
    any = true;
  };
  const auto member = [&](const Property& property) {
    begin_member();
    out_ += property.spelling;
    if (spaced_) out_ += ' ';
    value(property.node);
  };
  // A comma promises one more member, required or not.
  const bool none_left = shape.required_count[object.next] == 0 && optional.empty() && missing == 0;
  if (!any && none_left) {
    std::optional<std::size_t> cheapest;
    for (std::size_t i = object.next; i < shape.properties.size(); ++i) {
      const auto bytes = [&](std::size_t j) {
        return longer(grammar_.nodes[shape.properties[j].node].bytes, shape.properties[j].spelling.size());
      };
      if (!cheapest || bytes(i) < bytes(*cheapest)) cheapest = i;
    }
    if (cheapest) {
      optional.emplace_back(0, *cheapest);
    } else {
      missing = 1;
    }
  }
  for (std::size_t i = object.next; i < shape.properties.size(); ++i) {
    if (shape.properties[i].required || is_chosen(i)) member(shape.properties[i]);
  }
  for (; missing > 0; --missing) {
    const KeyClass* cheapest = nullptr;
    for (const KeyClass& each : shape.additional) {
      if (cheapest == nullptr || grammar_.nodes[each.node].bytes < grammar_.nodes[cheapest->node].bytes)
        cheapest = &each;
    }
    if (cheapest == nullptr) break;
    Frame key;
    key.kind = Kind::string;
    key.shape = cheapest->keys;
    key.place.state = grammar_.strings[key.shape].content.start();
    key.names = std::make_shared<const std::vector<std::string>>(1);
    const std::string rest = key_rest(grammar_, key, object);
    begin_member();
    out_ += '"' + rest + '"';
    colon();
    value(cheapest->node);
    auto names = object.names ? *object.names : std::vector<std::string>();
    names.insert(std::upper_bound(names.begin(), names.end(), rest), rest);
    object.names = std::make_shared<const std::vector<std::string>>(std::move(names));
  }
  out_ += '}';
}

}  // namespace reelfolio::engine::constraint
