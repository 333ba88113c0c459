#include "engine/tokenizer.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cstdint>
#include <limits>
#include <utility>

#include "engine/added_tokens.h"
#include "engine/byte_pairs.h"
#include "engine/error.h"
#include "engine/json.h"
#include "engine/piece_table.h"
#include "engine/tokenizer_file.h"
#include "engine/utf8.h"

namespace reelfolio::engine {
namespace {

constexpr std::size_t kMostTokenizerBytes = std::size_t{512} << 20;
constexpr char32_t kSpaceMark = 0x2581;
constexpr std::string_view kSpaceMarkText = "\u2581";

/// The value of "<0x4F>"; -1 for every other piece.
int byte_value(std::string_view piece) {
  if (piece.size() != 6 || piece.substr(0, 3) != "<0x" || piece[5] != '>') return -1;
  int value = 0;
  for (const char c : piece.substr(3, 2)) {
    const int digit = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                             : -1;
    if (digit < 0) return -1;
    value = 16 * value + digit;
  }
  return value;
}

std::string byte_piece(int value) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string piece = "<0x";
  piece += kDigits[static_cast<std::size_t>(value) / 16];
  piece += kDigits[static_cast<std::size_t>(value) % 16];
  return piece + ">";
}

std::string_view last_character(std::string_view text) {
  std::size_t begin = text.size() - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) --begin;
  return text.substr(begin);
}

void append_replacements(std::string& out, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) out += kReplacementCharacter;
}

}  // namespace

struct Tokenizer::Impl {
  PieceTable pieces;
  AddedTokens added;
  BytePairs pairs;
  std::size_t num_merges = 0;
  std::size_t num_special = 0;

  enum : std::uint8_t { kSpecial = 1, kByte = 2 };
  std::vector<std::uint8_t> flags;  // by id
  std::string decoded;              // what the pieces stand for, one after the other
  std::vector<std::size_t> decoded_ends;

  std::array<TokenId, 256> bytes{};
  std::vector<TokenId> characters;  // by code point below 0x10000
  /// By id: whether a merge joins a piece that ends in this character to one that begins
  /// with U+2581. Where none does, text falls apart in front of U+2581 into words that
  /// merge on their own, which keeps them short; the result is the same.
  std::vector<bool> joins_space;

  Impl(TokenizerTables tables, const std::string& file)
      : pieces(std::move(tables.pieces)),
        added(std::move(tables.added_tokens)),
        pairs(tables.merges),
        num_merges(tables.merges.size()),
        flags(pieces.id_count()),
        characters(0x10000, PieceTable::kNone),
        joins_space(pieces.id_count()) {
    for (const AddedToken& token : added.tokens()) {
      if (!token.special) continue;
      flags[index(token.id)] |= kSpecial;
      ++num_special;
    }
    for (int value = 0; value < 256; ++value) {
      const std::string piece = byte_piece(value);
      const TokenId id = bytes[static_cast<std::size_t>(value)] = pieces.find(piece);
      if (id == PieceTable::kNone) throw ModelError(file + ": piece '" + piece + "' is missing");
      if (has(id, kSpecial)) throw ModelError(file + ": piece '" + piece + "' is special");
    }
    decode_pieces();
    find_joins(tables.merges);
  }

  static std::size_t index(TokenId id) { return static_cast<std::size_t>(id); }
  bool known(TokenId id) const { return id >= 0 && index(id) < flags.size(); }
  bool has(TokenId id, std::uint8_t flag) const { return known(id) && (flags[index(id)] & flag) != 0; }

  std::string_view text(TokenId id) const {
    if (!known(id)) return {};
    const std::size_t begin = id == 0 ? 0 : decoded_ends[index(id) - 1];
    return std::string_view(decoded).substr(begin, decoded_ends[index(id)] - begin);
  }

  void decode_pieces() {
    decoded_ends.reserve(pieces.id_count());
    for (std::size_t i = 0; i < pieces.id_count(); ++i) {
      std::string_view piece = pieces.piece(static_cast<TokenId>(i));
      if (const int value = byte_value(piece); value >= 0) {
        flags[i] |= kByte;
        decoded += static_cast<char>(value);
      } else {
        if (!piece.empty() && (flags[i] & kSpecial) == 0) note_character(piece, static_cast<TokenId>(i));
        for (std::size_t mark = piece.find(kSpaceMarkText); mark != piece.npos;
             mark = piece.find(kSpaceMarkText)) {
          decoded += piece.substr(0, mark);
          decoded += ' ';
          piece.remove_prefix(mark + kSpaceMarkText.size());
        }
        decoded += piece;
      }
      decoded_ends.push_back(decoded.size());
    }
  }

  void note_character(std::string_view piece, TokenId id) {
    if (piece.size() > 3) return;
    const Utf8Step step = read_utf8(piece);
    if (step.kind == Utf8Step::Kind::valid && step.bytes == piece.size()) characters[step.code_point] = id;
  }

  void find_joins(const std::vector<BytePairs::Merge>& merges) {
    for (const BytePairs::Merge& merge : merges) {
      if (merge.left < 0) continue;
      if (pieces.piece(merge.right).substr(0, kSpaceMarkText.size()) != kSpaceMarkText) continue;
      const TokenId last = pieces.find(last_character(pieces.piece(merge.left)));
      if (last != PieceTable::kNone) joins_space[index(last)] = true;
    }
  }

  /// The token of one character, if there is one that text may use.
  TokenId character(char32_t code_point, std::string_view spelling) const {
    if (code_point < characters.size()) return characters[code_point];
    const TokenId id = pieces.find(spelling);
    return has(id, kSpecial) ? PieceTable::kNone : id;
  }

  /// Appends the tokens of `text`: valid UTF-8 without added tokens.
  void encode_piece(std::string_view text, std::vector<TokenId>& ids, BytePairs::Scratch& scratch) const {
    std::size_t word = ids.size();
    bool may_cut = false;
    const auto finish_word = [&] {
      const std::size_t left = pairs.merge(std::span(ids).subspan(word), scratch);
      ids.resize(word + left);
      word = ids.size();
    };
    while (!text.empty()) {
      Utf8Step step;
      step.code_point = static_cast<unsigned char>(text.front());
      if (step.code_point >= 0x80) step = read_utf8(text);
      const std::string_view spelling = text.substr(0, step.bytes);
      const char32_t code_point = step.code_point == U' ' ? kSpaceMark : step.code_point;
      text.remove_prefix(step.bytes);
      if (code_point == kSpaceMark && may_cut) finish_word();
      const TokenId id = character(code_point, spelling);
      if (id != PieceTable::kNone) {
        ids.push_back(id);
        may_cut = !joins_space[index(id)];
        continue;
      }
      for (const char c : code_point == kSpaceMark ? kSpaceMarkText : spelling) {
        ids.push_back(bytes[static_cast<unsigned char>(c)]);
      }
      // A merge may begin with any of these bytes.
      may_cut = false;
    }
    finish_word();
  }
};

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::parse(std::string_view json, const std::string& file) {
  return Tokenizer(std::make_unique<const Impl>(read_tokenizer_json(json, file), file));
}

Tokenizer Tokenizer::load(const std::filesystem::path& dir) {
  return parse(read_model_file(dir / "tokenizer.json", kMostTokenizerBytes));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text) const {
  const PromptRun run{std::string(text), false};
  return encode(std::span(&run, 1));
}

std::vector<TokenId> Tokenizer::encode(std::span<const PromptRun> runs) const {
  std::string text;
  std::vector<std::size_t> ends;  // of the runs
  for (const PromptRun& run : runs) {
    text += is_valid_utf8(run.text) ? run.text : replace_invalid_utf8(run.text);
    ends.push_back(text.size());
  }
  if (text.size() >= std::numeric_limits<std::uint32_t>::max()) {
    throw RequestError("text is " + std::to_string(text.size()) + " bytes, expected less than 4 GiB");
  }

  std::vector<TokenId> ids;
  BytePairs::Scratch scratch;
  std::size_t run = 0;
  std::size_t piece_begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    if (!impl_->added.may_start(text[at])) {
      ++at;
      continue;
    }
    while (ends[run] <= at) ++run;
    const AddedToken* token = impl_->added.longest_at(text, at, runs[run].trusted ? ends[run] : 0);
    if (token == nullptr) {
      ++at;
      continue;
    }
    impl_->encode_piece(std::string_view(text).substr(piece_begin, at - piece_begin), ids, scratch);
    ids.push_back(token->id);
    at += token->content.size();
    piece_begin = at;
  }
  impl_->encode_piece(std::string_view(text).substr(piece_begin), ids, scratch);
  return ids;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::string out;
  std::string run;  // bytes of consecutive byte tokens
  const auto finish_run = [&] {
    if (run.empty()) return;
    if (is_valid_utf8(run)) {
      out += run;
    } else {
      append_replacements(out, run.size());
    }
    run.clear();
  };
  for (const TokenId id : ids) {
    const std::string_view text = impl_->text(id);
    if (text.empty() || (skip_special && is_special(id))) continue;
    if (is_byte(id)) {
      run += text;
    } else {
      finish_run();
      out += text;
    }
  }
  finish_run();
  return out;
}

std::size_t Tokenizer::vocab_size() const {
  return impl_->pieces.id_count();
}
bool Tokenizer::is_special(TokenId id) const {
  return impl_->has(id, Impl::kSpecial);
}
bool Tokenizer::is_byte(TokenId id) const {
  return impl_->has(id, Impl::kByte);
}
std::string_view Tokenizer::piece(TokenId id) const {
  return impl_->pieces.piece(id);
}
std::string_view Tokenizer::token_bytes(TokenId id) const {
  return impl_->text(id);
}
std::size_t Tokenizer::num_merges() const {
  return impl_->num_merges;
}
std::size_t Tokenizer::num_added_tokens() const {
  return impl_->added.tokens().size();
}
std::size_t Tokenizer::num_special_tokens() const {
  return impl_->num_special;
}

std::optional<TokenId> Tokenizer::id(std::string_view piece) const {
  const TokenId found = impl_->pieces.find(piece);
  return found == PieceTable::kNone ? std::nullopt : std::optional(found);
}

TokenId Tokenizer::require_id(std::string_view piece) const {
  if (const auto found = id(piece)) return *found;
  throw ModelError("tokenizer.json: piece '" + std::string(piece) + "' is missing");
}

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(&tokenizer), skip_special_(skip_special) {}

std::string Detokenizer::push(TokenId id) {
  const std::string_view text = tokenizer_->token_bytes(id);
  if (text.empty() || (skip_special_ && tokenizer_->is_special(id))) return {};
  if (!tokenizer_->is_byte(id)) {
    std::string out = finish();
    out += text;
    return out;
  }
  held_ += text;
  std::string out;
  std::string_view rest = held_;
  while (!rest.empty()) {
    const Utf8Step step = read_utf8(rest);
    if (step.kind == Utf8Step::Kind::incomplete) break;
    if (step.kind == Utf8Step::Kind::valid) {
      out += rest.substr(0, step.bytes);
    } else {
      append_replacements(out, step.bytes);
    }
    rest.remove_prefix(step.bytes);
  }
  held_.erase(0, held_.size() - rest.size());
  return out;
}

std::string Detokenizer::finish() {
  std::string out;
  append_replacements(out, held_.size());
  held_.clear();
  return out;
}

}  // namespace reelfolio::engine
