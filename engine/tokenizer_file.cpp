#include "engine/tokenizer_file.h"

#include <algorithm>
#include <cstddef>
#include <optional>

#include "engine/error.h"
#include "engine/json.h"

namespace reelfolio::engine {
namespace {

constexpr std::size_t kMostIds = std::size_t{1} << 22;
constexpr std::size_t kMostMerges = std::size_t{1} << 24;
// The time to look for added tokens grows with the longest; the release's are below 40 bytes.
constexpr std::size_t kMostAddedTokenBytes = 1024;
constexpr std::string_view kReplacement = "\u2581";

void require_string(const JsonValue& object, std::string_view key, std::string_view expected) {
  const JsonValue value = object.require(key);
  if (value.string() != expected) value.fail("\"" + std::string(expected) + "\"");
}

void expect_bool(const JsonValue& object, std::string_view key, bool expected) {
  const auto value = object.find(key);
  if ((value && value->boolean()) != expected) {
    throw ModelError(object.file() + ": key '" + object.path() + "." + std::string(key) + "' is not " +
                     (expected ? "true" : "false"));
  }
}

/// The only element of a Sequence's list, or the object itself.
JsonValue sole_step(const JsonValue& value, std::string_view list_key) {
  if (value.require("type").string() != "Sequence") return value;
  const JsonValue list = value.require(list_key);
  if (list.array().size() != 1) list.fail("a list of one");
  return {list.array().at(0).value(), list.path() + "[0]", list.file()};
}

void check_replace(const JsonValue& value, std::string_view pattern, std::string_view content) {
  require_string(value, "type", "Replace");
  require_string(value.require("pattern"), "String", pattern);
  require_string(value, "content", content);
}

void check_kind(const JsonValue& root, const JsonValue& model) {
  check_replace(sole_step(root.require("normalizer"), "normalizers"), " ", kReplacement);
  if (const auto split = root.find("pre_tokenizer")) {
    // Never fires: the normalizer leaves no space to split at.
    const JsonValue step = sole_step(*split, "pretokenizers");
    require_string(step, "type", "Split");
    require_string(step.require("pattern"), "String", " ");
  }
  const JsonValue decoder = root.require("decoder");
  require_string(decoder, "type", "Sequence");
  const JsonValue steps = decoder.require("decoders");
  const auto step = [&](std::size_t i) {
    return JsonValue(steps.array().at(i).value(), steps.path() + "[" + std::to_string(i) + "]", steps.file());
  };
  if (steps.array().size() != 3) steps.fail("Replace, ByteFallback and Fuse");
  check_replace(step(0), kReplacement, " ");
  require_string(step(1), "type", "ByteFallback");
  require_string(step(2), "type", "Fuse");

  require_string(model, "type", "BPE");
  expect_bool(model, "byte_fallback", true);
  expect_bool(model, "ignore_merges", false);
  if (const auto dropout = model.find("dropout"); dropout && dropout->number(0.0, 1.0) != 0.0)
    dropout->fail("null");
  for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (const auto affix = model.find(key); affix && !affix->string().empty()) affix->fail("null");
  }
}

AddedToken read_added_token(const JsonValue& value) {
  AddedToken token;
  const JsonValue content = value.require("content");
  token.content = content.string();
  if (token.content.empty() || token.content.size() > kMostAddedTokenBytes) {
    content.fail("a text of 1 to " + std::to_string(kMostAddedTokenBytes) + " bytes");
  }
  token.id = static_cast<TokenId>(value.require("id").size(0, kMostIds - 1));
  token.special = value.require("special").boolean();
  for (const std::string_view key : {"single_word", "lstrip", "rstrip", "normalized"})
    expect_bool(value, key, false);
  return token;
}

[[noreturn]] void fail_piece(const std::string& file, std::string_view piece, const std::string& what) {
  throw ModelError(file + ": piece '" + std::string(piece) + "' " + what);
}

void insert_vocabulary(const JsonValue& vocab, PieceTable& pieces) {
  for (const simdjson::dom::key_value_pair field : vocab.object()) {
    std::uint64_t id = 0;
    if (field.value.get_uint64().get(id) != simdjson::SUCCESS || id >= kMostIds) {
      fail_piece(vocab.file(), field.key, "has an id that is no integer below " + std::to_string(kMostIds));
    }
    if (field.key.empty()) fail_piece(vocab.file(), field.key, "is empty");
    switch (pieces.insert(field.key, static_cast<TokenId>(id))) {
      case PieceTable::Insertion::done:
        break;
      case PieceTable::Insertion::id_taken:
        fail_piece(vocab.file(), field.key, "has id " + std::to_string(id) + ", as another piece has");
      case PieceTable::Insertion::text_taken:
        fail_piece(vocab.file(), field.key, "occurs twice");
    }
  }
}

void insert_added_tokens(const std::string& file, std::vector<AddedToken>& tokens, PieceTable& pieces) {
  for (const AddedToken& token : tokens) {
    const TokenId known = pieces.find(token.content);
    if (known == token.id) continue;
    if (known != PieceTable::kNone || pieces.insert(token.content, token.id) != PieceTable::Insertion::done) {
      fail_piece(
          file, token.content,
          "is an added token with id " + std::to_string(token.id) + ", which contradicts the vocabulary");
    }
  }
  std::vector<TokenId> ids;
  for (const AddedToken& token : tokens) ids.push_back(token.id);
  std::sort(ids.begin(), ids.end());
  const auto twin = std::adjacent_find(ids.begin(), ids.end());
  if (twin != ids.end()) fail_piece(file, pieces.piece(*twin), "is an added token twice");
}

/// Resolves the two spellings of a merge, "a b" and ["a", "b"].
class MergeReader {
 public:
  MergeReader(const JsonValue& list, const PieceTable& pieces, const std::vector<bool>& special)
      : list_(list), pieces_(pieces), special_(special) {}

  std::vector<BytePairs::Merge> read() {
    if (list_.array().size() > kMostMerges) list_.fail("at most " + std::to_string(kMostMerges) + " merges");
    std::vector<BytePairs::Merge> merges;
    for (const simdjson::dom::element element : list_.array()) {
      index_ = merges.size();
      merges.push_back(merge(element));
    }
    return merges;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw ModelError(list_.file() + ": key '" + list_.path() + "[" + std::to_string(index_) + "]' " + what);
  }

  TokenId id(std::string_view piece) const {
    const TokenId found = pieces_.find(piece);
    if (found == PieceTable::kNone)
      fail("names '" + std::string(piece) + "', which is not in the vocabulary");
    return found;
  }

  BytePairs::Merge merge(simdjson::dom::element element) {
    std::string_view left;
    std::string_view right;
    std::string_view both;
    if (element.get_string().get(both) == simdjson::SUCCESS) {
      // No piece contains a space: the normalizer replaces it.
      const std::size_t space = both.find(' ');
      if (space == both.npos || both.find(' ', space + 1) != both.npos) fail("is no pair of pieces");
      left = both.substr(0, space);
      right = both.substr(space + 1);
    } else {
      simdjson::dom::array pair;
      if (element.get_array().get(pair) != simdjson::SUCCESS) fail("is no pair of pieces");
      auto item = pair.begin();
      const auto end = pair.end();
      if (!(item != end) || (*item).get_string().get(left) != simdjson::SUCCESS) fail("is no pair of pieces");
      ++item;
      if (!(item != end) || (*item).get_string().get(right) != simdjson::SUCCESS)
        fail("is no pair of pieces");
      ++item;
      if (item != end) fail("is no pair of pieces");
    }
    BytePairs::Merge merge;
    merge.left = id(left);
    merge.right = id(right);
    joined_.assign(left);
    joined_ += right;
    merge.result = id(joined_);
    if (special_[static_cast<std::size_t>(merge.result)]) merge.left = PieceTable::kNone;
    return merge;
  }

  const JsonValue& list_;
  const PieceTable& pieces_;
  const std::vector<bool>& special_;
  std::string joined_;
  std::size_t index_ = 0;
};

}  // namespace

TokenizerTables read_tokenizer_json(std::string_view json, const std::string& file) {
  const JsonDocument document(json, file);
  const JsonValue root = document.root();
  const JsonValue model = root.require("model");
  check_kind(root, model);

  std::vector<AddedToken> added;
  if (const auto list = root.find("added_tokens")) {
    for (const simdjson::dom::element element : list->array()) {
      added.push_back(
          read_added_token({element, list->path() + "[" + std::to_string(added.size()) + "]", list->file()}));
    }
  }
  const JsonValue vocab = model.require("vocab");
  if (vocab.object().size() > kMostIds) vocab.fail("at most " + std::to_string(kMostIds) + " pieces");
  PieceTable pieces(vocab.object().size() + added.size());
  insert_vocabulary(vocab, pieces);
  insert_added_tokens(file, added, pieces);

  std::vector<bool> special(pieces.id_count());
  for (const AddedToken& token : added) {
    if (token.special) special[static_cast<std::size_t>(token.id)] = true;
  }
  std::vector<BytePairs::Merge> merges = MergeReader(model.require("merges"), pieces, special).read();
  return {std::move(pieces), std::move(added), std::move(merges)};
}

}  // namespace reelfolio::engine
