#include "pipeline/yaml_reader.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "pipeline/names.h"

namespace reelfolio::pipeline {

namespace {

using Scalar = SpecValue::Scalar;
using List = SpecValue::List;
using Map = SpecValue::Map;

/// Turns yaml-cpp's places (lines from 0, columns in bytes) into ours.
class Places {
 public:
  Places(std::string_view text, std::string file, bool has_lines)
      : text_(text), file_(std::move(file)), has_lines_(has_lines) {
    line_starts_.push_back(0);
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\n') line_starts_.push_back(i + 1);
    }
  }

  SourceLocation at(const YAML::Mark& mark) const {
    if (mark.line < 0) return {file_, 0, 0};
    return at(static_cast<std::size_t>(mark.line), static_cast<std::size_t>(std::max(mark.column, 0)));
  }

  /// A tab stands in the white space that the line of `mark` begins with.
  bool indented_by_tab(const YAML::Mark& mark) const {
    if (mark.line < 0 || static_cast<std::size_t>(mark.line) >= line_starts_.size()) return false;
    const std::string_view line = text_.substr(line_starts_[static_cast<std::size_t>(mark.line)]);
    return line.substr(0, line.find_first_not_of(" \t")).find('\t') != std::string_view::npos;
  }

  SourceLocation at_byte(std::size_t offset) const {
    const auto next = std::upper_bound(line_starts_.begin(), line_starts_.end(), offset);
    const auto line = static_cast<std::size_t>(next - line_starts_.begin()) - 1;
    return at(line, offset - line_starts_[line]);
  }

 private:
  SourceLocation at(std::size_t line, std::size_t byte_column) const {
    if (!has_lines_) return {file_, 0, 0};
    int column = 1;
    if (line < line_starts_.size()) {
      const std::string_view rest = text_.substr(line_starts_[line], byte_column);
      column += static_cast<int>(std::count_if(
          rest.begin(), rest.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
    }
    return {file_, static_cast<int>(line) + 1, column};
  }

  std::string_view text_;
  std::string file_;
  bool has_lines_;
  std::vector<std::size_t> line_starts_;
};

/// Length of the UTF-8 sequence that starts at `i`; 0 if there is no valid one.
std::size_t utf8_length(std::string_view text, std::size_t i) {
  const auto byte = [&](std::size_t k) {
    return k < text.size() ? static_cast<unsigned char>(text[k]) : static_cast<unsigned char>(0);
  };
  const auto continues = [&](std::size_t k) { return (byte(k) & 0xC0U) == 0x80U; };
  const unsigned char first = byte(i);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return continues(i + 1) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    if (!continues(i + 1) || !continues(i + 2)) return 0;
    if (first == 0xE0 && byte(i + 1) < 0xA0) return 0;  // overlong
    if (first == 0xED && byte(i + 1) > 0x9F) return 0;  // surrogate
    return 3;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    if (!continues(i + 1) || !continues(i + 2) || !continues(i + 3)) return 0;
    if (first == 0xF0 && byte(i + 1) < 0x90) return 0;
    if (first == 0xF4 && byte(i + 1) > 0x8F) return 0;
    return 4;
  }
  return 0;
}

std::string hex_byte(char c) {
  constexpr std::string_view kHex = "0123456789abcdef";
  const auto byte = static_cast<unsigned char>(c);
  return {'0', 'x', kHex[byte >> 4U], kHex[byte & 0xFU]};
}

// yaml-cpp takes some control characters for marks of its own (0x04 for the end of the
// text) and passes bytes that are not UTF-8 through; both are kept from it.
void check_bytes(std::string_view text, const Places& places) {
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text, i);
    if (length == 0) throw ConfigError(places.at_byte(i), "byte " + hex_byte(text[i]) + " is not UTF-8");
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte < 0x20 && byte != '\n' && byte != '\r' && byte != '\t') || byte == 0x7F) {
      throw ConfigError(places.at_byte(i), "control character " + hex_byte(text[i]) + " is not allowed");
    }
    i += length;
  }
}

/// yaml-cpp turns the escapes \N and \_ into the single bytes 0x85 and 0xA0 instead of U+0085 and
/// U+00A0. The text around them is UTF-8, so that they stand out.
std::string with_whole_escapes(const std::string& text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = utf8_length(text, i);
    if (length == 0) out += '\xC2';
    out.append(text, i, std::max<std::size_t>(length, 1));
    i += std::max<std::size_t>(length, 1);
  }
  return out;
}

class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const Places& places, const YamlLimits& limits) : places_(places), limits_(limits) {}

  SpecValue take_root() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) {
      throw ConfigError(places_.at(mark), "a second document starts here, expected one");
    }
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    SpecValue value;
    value.where = places_.at(mark);
    add(std::move(value), anchor, 1);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) {
      throw ConfigError(places_.at(mark), "an alias stands inside its own anchor");
    }
    if (nodes_ + found->second.nodes > limits_.nodes) too_many(places_.at(mark));
    if (depth() + found->second.height > limits_.depth) too_deep(places_.at(mark));
    SpecValue copy = found->second.value;
    add(std::move(copy), 0, found->second.nodes, found->second.height);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    SpecValue value;
    value.where = places_.at(mark);
    check_tag(tag, value.where);
    value.data = Scalar{with_whole_escapes(text), tag != "?" && !tag.empty()};
    add(std::move(value), anchor, 1);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    open(mark, tag, anchor, List{});
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    open(mark, tag, anchor, Map{});
  }
  void OnMapEnd() override { close(); }

 private:
  /// A map or list that is being read.
  struct Frame {
    SpecValue value;
    YAML::anchor_t anchor = 0;
    std::size_t nodes = 1;                     ///< in it so far, itself included
    std::size_t height = 1;                    ///< levels of maps and lists, itself included
    std::optional<SpecValue::MapEntry> entry;  ///< of a map: the key read, its value still to come
    std::vector<SpecValue> merged;             ///< of a map: what `<<` names
    std::unordered_set<std::string> keys;      ///< of a map: the keys written in it
  };
  struct Anchored {
    SpecValue value;
    std::size_t nodes = 1;
    std::size_t height = 0;
  };

  std::size_t depth() const { return frames_.size(); }

  [[noreturn]] void too_many(const SourceLocation& where) const {
    throw ConfigError(where,
                      "more than " + std::to_string(limits_.nodes) + " values, counting each alias in full");
  }
  [[noreturn]] void too_deep(const SourceLocation& where) const {
    throw ConfigError(where, "maps and lists nest deeper than " + std::to_string(limits_.depth) + " levels");
  }

  static void check_tag(const std::string& tag, const SourceLocation& where) {
    if (tag.empty() || tag == "?" || tag == "!" || tag == "tag:yaml.org,2002:str") return;
    throw ConfigError(where, "tag " + in_quotes(tag) + " is not supported");
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            std::variant<std::monostate, Scalar, List, Map> data) {
    Frame frame;
    frame.value.where = places_.at(mark);
    if (tag != "!" && tag != "?" && !tag.empty()) {
      throw ConfigError(frame.value.where, "tag " + in_quotes(tag) + " is not supported");
    }
    if (depth() + 1 > limits_.depth) too_deep(frame.value.where);
    if (!frames_.empty() && std::holds_alternative<Map>(frames_.back().value.data) && !frames_.back().entry) {
      throw ConfigError(frame.value.where, std::holds_alternative<Map>(data)
                                               ? "a map cannot be a key (or a brace is left open)"
                                               : "a list cannot be a key (or a bracket is left open)");
    }
    frame.value.data = std::move(data);
    frame.anchor = anchor;
    frames_.push_back(std::move(frame));
  }

  void close() {
    Frame frame = std::move(frames_.back());
    frames_.pop_back();
    if (std::holds_alternative<Map>(frame.value.data)) merge(frame);
    nodes_ -= frame.nodes - 1;  // add() counts them again
    add(std::move(frame.value), frame.anchor, frame.nodes, frame.height);
  }

  /// Puts the entries that `<<` brings behind those written, which win.
  void merge(Frame& frame) {
    auto& map = std::get<Map>(frame.value.data);
    const auto take = [&](const SpecValue& source) {
      const auto* entries = std::get_if<Map>(&source.data);
      if (entries == nullptr) throw ConfigError(source.where, "'<<' merges maps, and this is none");
      for (const SpecValue::MapEntry& entry : *entries) {
        if (frame.keys.insert(entry.key).second) map.push_back(entry);
      }
    };
    for (const SpecValue& source : frame.merged) {
      if (const auto* list = std::get_if<List>(&source.data)) {
        for (const SpecValue& element : *list) take(element);
      } else {
        take(source);
      }
    }
  }

  /// A finished value goes where it belongs: the map or list around it, or the root.
  void add(SpecValue value, YAML::anchor_t anchor, std::size_t nodes, std::size_t height = 0) {
    nodes_ += nodes;
    if (nodes_ > limits_.nodes) too_many(value.where);
    if (anchor != 0) {
      // The copy that the anchor keeps costs as much as an alias.
      anchored_nodes_ += nodes;
      if (anchored_nodes_ > limits_.nodes) too_many(value.where);
      anchors_[anchor] = Anchored{value, nodes, height};
    }
    if (frames_.empty()) {
      root_ = std::move(value);
      return;
    }
    Frame& frame = frames_.back();
    frame.nodes += nodes;
    frame.height = std::max(frame.height, height + 1);
    if (auto* list = std::get_if<List>(&frame.value.data)) {
      list->push_back(std::move(value));
      return;
    }
    if (!frame.entry) {
      add_key(frame, value);
      return;
    }
    SpecValue::MapEntry entry = std::move(*frame.entry);
    frame.entry.reset();
    // A value left out has no place of its own.
    if (std::holds_alternative<std::monostate>(value.data)) value.where = entry.key_where;
    entry.value = std::move(value);
    if (entry.key == kMerge) {
      frame.merged.push_back(std::move(entry.value));
    } else {
      std::get<Map>(frame.value.data).push_back(std::move(entry));
    }
  }

  void add_key(Frame& frame, const SpecValue& key) {
    const auto* scalar = std::get_if<Scalar>(&key.data);
    if (scalar == nullptr) throw ConfigError(key.where, "a key has no name");
    if (!frame.keys.insert(scalar->text).second) {
      const auto& map = std::get<Map>(frame.value.data);
      const auto first =
          std::find_if(map.begin(), map.end(), [&](const auto& e) { return e.key == scalar->text; });
      std::string message = "key " + in_quotes(scalar->text) + " stands twice";
      if (first != map.end() && first->key_where.line > 0) {
        message += ", first in line " + std::to_string(first->key_where.line);
      }
      throw ConfigError(key.where, message);
    }
    frame.entry.emplace();
    frame.entry->key = scalar->text;
    frame.entry->key_where = key.where;
  }

  static constexpr std::string_view kMerge = "<<";

  const Places& places_;
  const YamlLimits& limits_;
  int documents_ = 0;
  std::size_t nodes_ = 0;
  std::size_t anchored_nodes_ = 0;
  std::vector<Frame> frames_;
  std::unordered_map<YAML::anchor_t, Anchored> anchors_;
  SpecValue root_;
};

}  // namespace

SpecValue read_yaml(std::string_view yaml, const std::string& file, bool has_lines,
                    const YamlLimits& limits) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (yaml.substr(0, kByteOrderMark.size()) == kByteOrderMark) yaml.remove_prefix(kByteOrderMark.size());
  if (yaml.size() > limits.bytes) {
    throw ConfigError(SourceLocation{file, 0, 0},
                      "longer than " + std::to_string(limits.bytes) + " bytes, the most that is read");
  }
  const Places places(yaml, file, has_lines);
  check_bytes(yaml, places);
  TreeBuilder builder(places, limits);
  try {
    std::istringstream stream{std::string(yaml)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const YAML::Exception& error) {
    // yaml-cpp has many words for it, and none of them is "tab".
    const bool has_tab = places.indented_by_tab(error.mark);
    throw ConfigError(places.at(error.mark),
                      "not valid YAML: " + error.msg + (has_tab ? "; a tab cannot indent, spaces can" : ""));
  }
  return builder.take_root();
}

}  // namespace reelfolio::pipeline
