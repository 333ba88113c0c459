#include "engine/synthetic_tokenizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <random>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace reelfolio::engine {
namespace {

constexpr std::size_t kVocabSize = kSyntheticVocabSize;
constexpr std::size_t kNumMerges = 514906;
constexpr std::size_t kMaxPieceCharacters = 14;
constexpr std::string_view kWordMark = "\u2581";

/// std::uniform_*_distribution differs between standard libraries; this does not.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  double unit() { return static_cast<double>(engine_() >> 11) * 0x1.0p-53; }
  std::size_t below(std::size_t n) { return static_cast<std::size_t>(unit() * static_cast<double>(n)); }
  /// Small indices far more often than large ones, as word frequencies are.
  std::size_t skewed_below(std::size_t n) {
    return static_cast<std::size_t>(std::pow(unit(), 12.0) * static_cast<double>(n));
  }

 private:
  std::mt19937_64 engine_;
};

std::string utf8(char32_t c) {
  std::string out;
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | (c >> 6));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xE0 | (c >> 12));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
  return out;
}

struct Piece {
  std::string text;
  std::size_t characters = 1;
  /// Script: pieces of one script combine.
  int script = 0;
  bool opens_word = false;
};

struct Vocabulary {
  std::vector<std::string> head;  ///< control and byte tokens
  std::vector<Piece> pieces;
  std::vector<std::pair<std::string, std::string>> merges;
};

void add_range(std::vector<std::vector<Piece>>& scripts, int script, char32_t first, char32_t last) {
  for (char32_t c = first; c <= last; ++c) {
    scripts[static_cast<std::size_t>(script)].push_back({utf8(c), 1, script, false});
  }
}

Vocabulary make_vocabulary() {
  Vocabulary vocabulary;
  vocabulary.head = {"<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|turn>", "<turn|>"};
  for (int byte = 0; byte < 256; ++byte) {
    std::array<char, 8> text{};
    std::snprintf(text.data(), text.size(), "<0x%02X>", static_cast<unsigned>(byte));
    vocabulary.head.emplace_back(text.data());
  }
  // Scripts: Latin, digits and punctuation, Cyrillic, Greek, Han, Hangul.
  std::vector<std::vector<Piece>> scripts(6);
  add_range(scripts, 0, U'a', U'z');
  add_range(scripts, 0, U'A', U'Z');
  add_range(scripts, 0, 0xC0, 0xFF);
  add_range(scripts, 1, U'!', U'@');
  add_range(scripts, 2, 0x410, 0x44F);
  add_range(scripts, 3, 0x391, 0x3C9);
  add_range(scripts, 4, 0x4E00, 0x5DFF);
  add_range(scripts, 5, 0xAC00, 0xB3FF);

  std::unordered_map<std::string, std::size_t> index;
  const auto add = [&](const Piece& piece) {
    if (!index.emplace(piece.text, vocabulary.pieces.size()).second) return false;
    vocabulary.pieces.push_back(piece);
    return true;
  };
  add({std::string(kWordMark), 1, -1, true});
  for (const auto& script : scripts) {
    for (const Piece& piece : script) add(piece);
  }

  Random random(7);
  const std::array<double, 6> share = {0.62, 0.04, 0.14, 0.05, 0.1, 0.05};
  while (vocabulary.head.size() + vocabulary.pieces.size() < kVocabSize) {
    double pick = random.unit();
    std::size_t script = 0;
    while (script + 1 < share.size() && pick >= share[script]) pick -= share[script++];
    auto& pool = scripts[script];
    const Piece left = pool[random.skewed_below(pool.size())];
    const Piece right = pool[random.skewed_below(pool.size())];
    Piece made;
    if (!left.opens_word && random.unit() < 0.35) {
      made = {std::string(kWordMark) + left.text, left.characters + 1, left.script, true};
    } else {
      if (right.opens_word || left.characters + right.characters > kMaxPieceCharacters) continue;
      made = {left.text + right.text, left.characters + right.characters, left.script, left.opens_word};
    }
    if (add(made)) pool.push_back(made);
  }

  for (const Piece& piece : vocabulary.pieces) {
    for (std::size_t cut = 1; cut < piece.text.size(); ++cut) {
      if ((static_cast<unsigned char>(piece.text[cut]) & 0xC0) == 0x80) continue;
      std::string left = piece.text.substr(0, cut);
      std::string right = piece.text.substr(cut);
      if (index.count(left) != 0 && index.count(right) != 0) {
        vocabulary.merges.emplace_back(std::move(left), std::move(right));
      }
    }
  }
  if (vocabulary.merges.size() > kNumMerges) vocabulary.merges.resize(kNumMerges);
  return vocabulary;
}

const Vocabulary& vocabulary() {
  static const Vocabulary instance = make_vocabulary();
  return instance;
}

void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  out += '"';
}

}  // namespace

std::string synthetic_tokenizer_json(bool pairs) {
  const Vocabulary& v = vocabulary();
  std::string out = "{\n  \"version\": \"1.0\",\n  \"added_tokens\": [";
  for (std::size_t id = 0; id < 7; ++id) {
    out += id == 0 ? "\n" : ",\n";
    out += "    {\n      \"id\": " + std::to_string(id) + ",\n      \"content\": ";
    append_quoted(out, v.head[id]);
    out +=
        ",\n      \"single_word\": false,\n      \"lstrip\": false,\n      \"rstrip\": false,\n"
        "      \"normalized\": false,\n      \"special\": true\n    }";
  }
  out +=
      "\n  ],\n  \"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": "
      "\"\u2581\"},\n  \"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"String\": \" \"}, "
      "\"behavior\": "
      "\"MergedWithPrevious\", \"invert\": false},\n  \"decoder\": {\"type\": \"Sequence\", \"decoders\": "
      "[{\"type\": "
      "\"Replace\", \"pattern\": {\"String\": \"\u2581\"}, \"content\": \" \"}, {\"type\": "
      "\"ByteFallback\"}, "
      "{\"type\": \"Fuse\"}]},\n  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    "
      "\"unk_token\": "
      "\"<unk>\",\n    \"fuse_unk\": true,\n    \"byte_fallback\": true,\n    \"ignore_merges\": false,\n    "
      "\"vocab\": {";
  std::size_t id = 0;
  const auto add = [&](std::string_view text) {
    out += id == 0 ? "\n      " : ",\n      ";
    append_quoted(out, text);
    out += ": " + std::to_string(id++);
  };
  for (const std::string& text : v.head) add(text);
  for (const Piece& piece : v.pieces) add(piece.text);
  out += "\n    },\n    \"merges\": [";
  bool first = true;
  for (const auto& [left, right] : v.merges) {
    out += first ? "\n      " : ",\n      ";
    first = false;
    if (pairs) {
      out += "[\n        ";
      append_quoted(out, left);
      out += ",\n        ";
      append_quoted(out, right);
      out += "\n      ]";
    } else {
      append_quoted(out, left + " " + right);
    }
  }
  out += "\n    ]\n  }\n}\n";
  return out;
}

std::string synthetic_text(std::size_t bytes, std::uint64_t seed) {
  const Vocabulary& v = vocabulary();
  Random random(seed);
  std::string out;
  while (out.size() < bytes) {
    const Piece& piece = v.pieces[random.skewed_below(v.pieces.size())];
    std::string_view text = piece.text;
    if (piece.opens_word) {
      text.remove_prefix(kWordMark.size());
      if (!out.empty()) out += random.below(12) == 0 ? '\n' : ' ';
    }
    out += text;
  }
  return out;
}

}  // namespace reelfolio::engine
