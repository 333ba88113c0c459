#include "stages/language/prompt_template.h"

#include <algorithm>

#include "stages/decimal.h"
#include "stages/error.h"
#include "stages/nearest_name.h"

namespace reelfolio::stages {

namespace {

using ValueOf = std::string (*)(const Item&);

struct Name {
  std::string_view name;
  std::vector<ItemType> of;  ///< item types that can have a value; empty: all
  ValueOf value;
};

bool is_unit(const Item& item, UnitKind kind) {
  return item.unit && item.unit->kind == kind;
}

std::string file_name(const Item& item) {
  const std::string& name = item.input->name;
  const std::size_t slash = name.find_last_not_of('/');
  const std::string trimmed = name.substr(0, slash == std::string::npos ? 0 : slash + 1);
  return trimmed.substr(trimmed.rfind('/') + 1);
}

std::string file_stem(const Item& item) {
  const std::string name = file_name(item);
  const std::size_t dot = name.rfind('.');
  return dot == std::string::npos || dot == 0 ? name : name.substr(0, dot);
}

std::string frame_times(const Item& item) {
  std::string times;
  for (const Picture& picture : item.pictures) {
    if (!picture.time_s) continue;
    if (!times.empty()) times += ", ";
    times += milliseconds_text(*picture.time_s);
  }
  return times;
}

const std::vector<Name>& names() {
  static const std::vector<ItemType> kScenes = {ItemType::scene, ItemType::frames, ItemType::heard_scene,
                                                ItemType::heard_frames};
  static const std::vector<ItemType> kFrames = {ItemType::frames, ItemType::heard_frames};
  static const std::vector<Name> table = {
      {"input.name", {}, file_name},
      {"input.stem", {}, file_stem},
      {"input.path", {}, [](const Item& item) { return item.input->name; }},
      {"scene.start", kScenes,
       [](const Item& item) {
         return is_unit(item, UnitKind::scene) ? milliseconds_text(item.unit->start_s) : std::string();
       }},
      {"scene.end", kScenes,
       [](const Item& item) {
         return is_unit(item, UnitKind::scene) ? milliseconds_text(item.unit->end_s) : std::string();
       }},
      {"scene.index", kScenes,
       [](const Item& item) {
         return is_unit(item, UnitKind::scene) ? std::to_string(item.unit->index) : std::string();
       }},
      {"frames.times", kFrames, frame_times},
      {"frames.count", kFrames,
       [](const Item& item) {
         return is_unit(item, UnitKind::scene) ? std::to_string(item.pictures.size()) : std::string();
       }},
      {"clip.start",
       {ItemType::clip},
       [](const Item& item) {
         return is_unit(item, UnitKind::clip) ? milliseconds_text(item.unit->start_s) : std::string();
       }},
      {"clip.end",
       {ItemType::clip},
       [](const Item& item) {
         return is_unit(item, UnitKind::clip) ? milliseconds_text(item.unit->end_s) : std::string();
       }},
      {"clip.index",
       {ItemType::clip},
       [](const Item& item) {
         return is_unit(item, UnitKind::clip) ? std::to_string(item.unit->index) : std::string();
       }},
      {"page.number",
       {ItemType::page},
       [](const Item& item) {
         return is_unit(item, UnitKind::page) ? std::to_string(item.unit->number) : std::string();
       }},
      {"page.index",
       {ItemType::page},
       [](const Item& item) {
         return is_unit(item, UnitKind::page) ? std::to_string(item.unit->index) : std::string();
       }},
      {"page.text",
       {ItemType::page},
       [](const Item& item) {
         return is_unit(item, UnitKind::page) ? item.unit->text.value_or("") : std::string();
       }},
      {"text",
       {ItemType::page, ItemType::text},
       [](const Item& item) { return item.unit ? item.unit->text.value_or("") : std::string(); }},
      {"text.index",
       {ItemType::text},
       [](const Item& item) {
         return is_unit(item, UnitKind::text) ? std::to_string(item.unit->index) : std::string();
       }},
      {"text.first_line",
       {ItemType::text},
       [](const Item& item) {
         return is_unit(item, UnitKind::text) ? std::to_string(item.unit->first_line) : std::string();
       }},
      {"text.last_line",
       {ItemType::text},
       [](const Item& item) {
         return is_unit(item, UnitKind::text) ? std::to_string(item.unit->last_line) : std::string();
       }},
      {"text.start",
       {ItemType::text},
       [](const Item& item) {
         return item.unit && item.unit->timed ? milliseconds_text(item.unit->start_s) : std::string();
       }},
      {"text.end",
       {ItemType::text},
       [](const Item& item) {
         return item.unit && item.unit->timed ? milliseconds_text(item.unit->end_s) : std::string();
       }},
      {"image.index",
       {ItemType::image},
       [](const Item& item) {
         return is_unit(item, UnitKind::image) ? std::to_string(item.unit->index) : std::string();
       }},
  };
  return table;
}

const Name* find_name(std::string_view name) {
  const auto found = std::ranges::find(names(), name, &Name::name);
  return found == names().end() ? nullptr : &*found;
}

/// "line 2, column 5: " of the byte at `offset`; columns count characters.
std::string place(std::string_view text, std::size_t offset) {
  std::size_t line = 1;
  std::size_t column = 1;
  for (const char c : text.substr(0, offset)) {
    if (c == '\n') {
      ++line;
      column = 1;
    } else if ((static_cast<unsigned char>(c) & 0xC0U) != 0x80U) {
      ++column;
    }
  }
  return "line " + std::to_string(line) + ", column " + std::to_string(column) + ": ";
}

void check_name(std::string_view text, std::size_t offset, std::string_view name,
                const PromptTemplate::Options& options) {
  if (std::ranges::find(options.extra, name) != options.extra.end()) return;
  const Name* known = find_name(name);
  if (known == nullptr) {
    std::vector<std::string_view> valid(options.extra.begin(), options.extra.end());
    for (const Name& each : names()) valid.push_back(each.name);
    std::string hint = did_you_mean(name, valid);
    if (hint.empty()) hint = "; a brace that belongs to the text is written twice, '{{'";
    throw ParamError(options.param,
                     place(text, offset) + "unknown name '" + std::string(name) + "' in the template" + hint);
  }
  if (known->of.empty() || options.receives.empty()) return;
  std::string given;
  for (const ItemType type : options.receives) {
    if (std::ranges::find(known->of, type) != known->of.end()) return;
    given += given.empty() ? "" : ", ";
    given += item_type_name(type);
  }
  throw ParamError(options.param, place(text, offset) + "'" + std::string(name) +
                                      "' never has a value here: the stage receives " + given);
}

}  // namespace

PromptTemplate PromptTemplate::compile(std::string_view text, const Options& options) {
  PromptTemplate result;
  std::string literal;
  const auto flush = [&] {
    if (!literal.empty()) result.segments_.push_back({false, std::move(literal)});
    literal.clear();
  };
  for (std::size_t i = 0; i < text.size();) {
    const char c = text[i];
    if (c != '{' && c != '}') {
      literal += c;
      ++i;
    } else if (i + 1 < text.size() && text[i + 1] == c) {
      literal += c;
      i += 2;
    } else if (c == '}') {
      throw ParamError(options.param,
                       place(text, i) + "'}' without '{'; a brace of the text is written '}}'");
    } else {
      const std::size_t end = text.find_first_of("{}\n", i + 1);
      if (end == std::string_view::npos || text[end] != '}') {
        throw ParamError(options.param,
                         place(text, i) + "'{' is not closed; a brace of the text is written '{{'");
      }
      const std::string_view name = text.substr(i + 1, end - i - 1);
      check_name(text, i, name, options);
      flush();
      result.segments_.push_back({true, std::string(name)});
      i = end + 1;
    }
  }
  flush();
  return result;
}

std::string PromptTemplate::render(const Item& item, const Extra& extra) const {
  std::string out;
  for (const Segment& segment : segments_) {
    if (!segment.is_name) {
      out += segment.text;
      continue;
    }
    const auto given = std::ranges::find_if(
        extra, [&](const auto& name_and_value) { return name_and_value.first == segment.text; });
    if (given != extra.end()) {
      out += given->second;
    } else if (const Name* name = find_name(segment.text)) {
      out += name->value(item);
    }
  }
  return out;
}

bool PromptTemplate::uses(std::string_view name) const {
  return std::ranges::any_of(segments_,
                             [&](const Segment& segment) { return segment.is_name && segment.text == name; });
}

std::string escape_template(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    escaped += c;
    if (c == '{' || c == '}') escaped += c;
  }
  return escaped;
}

}  // namespace reelfolio::stages
