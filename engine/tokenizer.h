#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/chat.h"
#include "engine/token_id.h"

namespace reelfolio::engine {

/// The byte-pair tokenizer of tokenizer.json (gemma4.md, section 10).
///
/// Immutable after loading: every const member may be called from any thread at once.
/// Encoding takes O(n log n) time for n characters, whatever the text.
///
/// Texts are UTF-8. Each byte that is not part of a valid character (RFC 3629; the
/// longest valid prefix counts as one, as Unicode recommends) is read as U+FFFD, so
/// that encoding never fails. U+2581 in a text comes back from decoding as a space.
class Tokenizer {
 public:
  /// Reads `dir`/tokenizer.json. Throws ModelError naming file and key where it is
  /// missing, corrupt, or a tokenizer of another kind.
  static Tokenizer load(const std::filesystem::path& dir);
  /// From the text of a tokenizer.json; `file` is its name for messages.
  static Tokenizer parse(std::string_view json, const std::string& file = "tokenizer.json");

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Ids of untrusted text, without `<bos>`. Special tokens spelled in it are ordinary
  /// text: no id of the result is special.
  std::vector<TokenId> encode(std::string_view text) const;
  /// Ids of the runs' texts, joined before they are tokenised. A special token is
  /// recognised only where it lies within one trusted run; other added tokens (runs of
  /// newlines, HTML tags) are recognised everywhere, across runs too.
  std::vector<TokenId> encode(std::span<const PromptRun> runs) const;

  /// One-shot decoding, as the reference does it: a run of byte tokens that is not valid
  /// UTF-8 as a whole becomes one U+FFFD for each byte. Ids outside the vocabulary are
  /// skipped. The result is valid UTF-8.
  std::string decode(std::span<const TokenId> ids, bool skip_special) const;

  std::size_t vocab_size() const;
  bool is_special(TokenId id) const;
  /// The vocabulary's spelling, "▁the" or "<0x0A>"; empty outside the vocabulary.
  std::string_view piece(TokenId id) const;
  std::optional<TokenId> id(std::string_view piece) const;
  /// The id of a token that the chat format needs; throws ModelError naming it.
  TokenId require_id(std::string_view piece) const;
  /// What `id` stands for: UTF-8, one raw byte for a byte token, the spelling of a
  /// special token. Owned by the tokenizer.
  std::string_view token_bytes(TokenId id) const;
  bool is_byte(TokenId id) const;

  std::size_t num_merges() const;
  std::size_t num_added_tokens() const;
  std::size_t num_special_tokens() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

/// Turns ids into text one at a time. What it emits is whole characters only; of an
/// unfinished character it holds back the bytes that may still become one, three at most.
///
/// For ids whose runs of byte tokens are valid UTF-8 the concatenated pieces equal
/// Tokenizer::decode. In an invalid run the valid characters survive and each invalid
/// sequence gives one U+FFFD for each byte, where one-shot decoding gives up the whole run.
///
/// Borrows the tokenizer. One thread at a time.
class Detokenizer {
 public:
  Detokenizer(const Tokenizer& tokenizer, bool skip_special);

  /// Text that is certain now; may be empty.
  std::string push(TokenId id);
  /// What is still held back, as U+FFFD for each byte; the object starts afresh.
  std::string finish();
  /// Whether an unfinished character is held back.
  bool pending() const { return !held_.empty(); }

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_;
  std::string held_;
};

}  // namespace reelfolio::engine
