#include "engine/constraint/value_reader.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "engine/json_tree.h"

namespace reelfolio::engine::constraint {

namespace {

void unite(Position& all, const Position& more) {
  for (const Reading& reading : more.readings) {
    const bool is_known = std::any_of(all.readings.begin(), all.readings.end(),
                                      [&](const Reading& known) { return same(known, reading); });
    if (!is_known) all.readings.push_back(reading);
  }
  if (!more.dead()) all.spacing = more.spacing;
}

class ValueReader {
 public:
  explicit ValueReader(const Automaton& automaton) : automaton_(automaton) {}

  Position read(const Position& at, const Json& value) const {
    if (at.dead()) return at;
    if (value.is_number()) {
      Position all;
      for (const std::string& text : number_spellings(decimal(value))) unite(all, automaton_.next(at, text));
      return all;
    }
    if (value.is_string()) return automaton_.next(at, "\"" + spell(value.get<std::string>()) + "\"");
    if (value.is_array()) return read_array(at, value);
    if (value.is_object()) return read_object(at, value);
    return automaton_.next(at, value.dump());
  }

 private:
  Position read_array(const Position& at, const Json& value) const {
    Position position = automaton_.next(at, "[");
    for (std::size_t i = 0; i < value.size(); ++i) {
      if (i > 0) position = automaton_.next(std::move(position), ",");
      position = read(position, value[i]);
    }
    return automaton_.next(std::move(position), "]");
  }

  Position read_object(const Position& at, const Json& value) const {
    const Position opened = automaton_.next(at, "{");
    Position all;
    for (const Reading& reading : opened.readings) {
      const ObjectShape& shape = automaton_.grammar().objects[reading->frame.shape];
      std::vector<std::string> keys;
      for (const Property& property : shape.properties) {
        if (value.contains(property.name)) keys.push_back(property.name);
      }
      for (const auto& [name, ignored] : value.items()) {
        if (std::find(keys.begin(), keys.end(), name) == keys.end()) keys.push_back(name);
      }
      Position position{{reading}, opened.spacing};
      for (std::size_t i = 0; i < keys.size() && !position.dead(); ++i) {
        position = automaton_.next(std::move(position), (i > 0 ? ",\"" : "\"") + spell(keys[i]) + "\":");
        position = read(position, value[keys[i]]);
      }
      unite(all, automaton_.next(std::move(position), "}"));
    }
    return all;
  }

  const Automaton& automaton_;
};

}  // namespace

bool admits_value(const Automaton& automaton, const Json& value) {
  if (!automaton.grammar().json) {
    return automaton.may_end(
        automaton.next(automaton.start(), value.is_string() ? value.get<std::string>() : value.dump()));
  }
  // Reading a value recurses.
  if (nests_deeper_than(value, automaton.grammar().max_depth)) return false;
  return automaton.may_end(ValueReader(automaton).read(automaton.start(), value));
}

}  // namespace reelfolio::engine::constraint
