#include "stages/language/grounding.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/json_tree.h"
#include "engine/utf8.h"

namespace reelfolio::stages {

namespace {

/// A text as it is compared, with the word that each of its characters comes from.
struct Folded {
  std::u32string characters;
  std::vector<int> words;
};

bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0xA0 || (c >= 0x2000 && c <= 0x200B) || c == 0x202F ||
         c == 0x3000 || c == 0xFEFF;
}

/// Letters and digits: no border of a word runs between two of them.
bool is_word_character(char32_t c) {
  if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  const bool punctuation = (c >= 0xA1 && c <= 0xBF && c != 0xAA && c != 0xB5 && c != 0xBA) || c == 0xD7 ||
                           c == 0xF7 || (c >= 0x2010 && c <= 0x206F) || (c >= 0x20A0 && c <= 0x20CF) ||
                           (c >= 0x3001 && c <= 0x3020) || (c >= 0xFF01 && c <= 0xFF0F);
  // Chinese and Japanese are written without borders.
  const bool unspaced = c >= 0x2E80 && c <= 0x9FFF;
  return !punctuation && !unspaced;
}

/// The plain form of a character; empty for what does not count.
std::u32string_view plain(char32_t c, char32_t& single) {
  switch (c) {
    case 0xAD:
    case 0x200C:
    case 0x200D:
      return {};
    case 0xFB00:
      return U"ff";
    case 0xFB01:
      return U"fi";
    case 0xFB02:
      return U"fl";
    case 0xFB03:
      return U"ffi";
    case 0xFB04:
      return U"ffl";
    case 0xFB05:
    case 0xFB06:
      return U"st";
    case 0x2018:
    case 0x2019:
    case 0x201A:
    case 0x2032:
      return U"'";
    case 0x201C:
    case 0x201D:
    case 0x201E:
    case 0x2033:
      return U"\"";
    case 0x2212:
      return U"-";
    default:
      break;
  }
  if (c >= 0x2010 && c <= 0x2015) return U"-";
  const bool upper = (c >= 'A' && c <= 'Z') || (c >= 0xC0 && c <= 0xDE && c != 0xD7);
  single = upper ? c + 0x20 : c;
  return {&single, 1};
}

void append(Folded& folded, std::string_view text, int word) {
  while (!text.empty()) {
    const engine::Utf8Step step = engine::read_utf8(text);
    text.remove_prefix(step.bytes);
    if (step.kind != engine::Utf8Step::Kind::valid || is_space(step.code_point)) continue;
    char32_t single = 0;
    for (const char32_t c : plain(step.code_point, single)) {
      folded.characters += c;
      folded.words.push_back(word);
    }
  }
}

/// White-space separated words of a text that has no boxes.
Folded folded_text(std::string_view text) {
  Folded folded;
  int word = 0;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t end = std::min(text.find_first_of(" \n\t\f\r", at), text.size());
    append(folded, text.substr(at, end - at), word++);
    at = end + 1;
  }
  return folded;
}

Folded folded_words(const std::vector<PageWord>& words) {
  Folded folded;
  for (std::size_t i = 0; i < words.size(); ++i) append(folded, words[i].text, static_cast<int>(i));
  return folded;
}

class Search {
 public:
  explicit Search(const Unit& unit)
      : unit_(unit), page_(unit.words.empty() ? folded_text(*unit.text) : folded_words(unit.words)) {}

  void visit(const Json& value, const std::string& pointer, Json& found) const {
    if (value.is_string()) {
      if (const Json place = place_of(value.get_ref<const std::string&>()); !place.is_null()) {
        found[pointer] = place;
      }
    } else if (value.is_object()) {
      for (const auto& [key, each] : value.items()) {
        visit(each, pointer + "/" + engine::pointer_step(key), found);
      }
    } else if (value.is_array()) {
      for (std::size_t i = 0; i < value.size(); ++i)
        visit(value[i], pointer + "/" + std::to_string(i), found);
    }
  }

 private:
  /// Null for a text without characters that count.
  Json place_of(const std::string& text) const {
    Folded wanted;
    append(wanted, text, 0);
    if (wanted.characters.empty()) return nullptr;
    const std::size_t length = wanted.characters.size();
    for (std::size_t at = page_.characters.find(wanted.characters); at != std::u32string::npos;
         at = page_.characters.find(wanted.characters, at + 1)) {
      if (!is_border(at) || !is_border(at + length)) continue;
      Json place = Json::object();
      place["grounded"] = true;
      if (unit_.words.empty()) return place;
      Json boxes = Json::array();
      for (int word = page_.words[at]; word <= page_.words[at + length - 1]; ++word) {
        const PageWord& box = unit_.words[static_cast<std::size_t>(word)];
        boxes.push_back({box.left_px, box.top_px, box.right_px, box.bottom_px});
      }
      place["boxes_px"] = std::move(boxes);
      return place;
    }
    Json nowhere = Json::object();
    nowhere["grounded"] = false;
    return nowhere;
  }

  /// Whether a word may end in front of character `at` and another begin there.
  bool is_border(std::size_t at) const {
    if (at == 0 || at == page_.characters.size() || page_.words[at - 1] != page_.words[at]) return true;
    return !is_word_character(page_.characters[at - 1]) || !is_word_character(page_.characters[at]);
  }

  const Unit& unit_;
  Folded page_;
};

}  // namespace

Json grounding_of(const Json& value, const Unit& unit) {
  if (!unit.text || (unit.kind == UnitKind::page && unit.words.empty())) return nullptr;
  Json found = Json::object();
  Search(unit).visit(value, "", found);
  return found;
}

}  // namespace reelfolio::stages
