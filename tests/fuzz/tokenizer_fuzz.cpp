#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "engine/error.h"
#include "engine/tokenizer.h"
#include "engine/utf8.h"

using namespace reelfolio::engine;

namespace {

void require(bool fine) {
  if (!fine) std::abort();
}

void check_text(const Tokenizer& tokenizer, std::string_view text, bool exact) {
  const std::vector<TokenId> ids = tokenizer.encode(text);
  for (const TokenId id : ids) require(!tokenizer.is_special(id) && !tokenizer.piece(id).empty());
  const std::string decoded = tokenizer.decode(ids, true);
  require(is_valid_utf8(decoded));
  Detokenizer detokenizer(tokenizer, true);
  std::string streamed;
  for (const TokenId id : ids) {
    const std::string piece = detokenizer.push(id);
    require(is_valid_utf8(piece));
    streamed += piece;
  }
  streamed += detokenizer.finish();
  if (!exact) return;
  require(streamed == decoded);
  std::string expected = replace_invalid_utf8(text);
  for (std::size_t at = 0; (at = expected.find("\u2581", at)) != expected.npos;)
    expected.replace(at, 3, 1, ' ');
  require(decoded == expected);
}

}  // namespace

/// Input that begins with '{' is a tokenizer.json; other input is text for the tiny
/// golden tokenizer, cut into runs at every 0x01.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  if (!input.empty() && input.front() == '{') {
    try {
      // A vocabulary may hold pieces that look like byte tokens, so text need not survive.
      check_text(Tokenizer::parse(input), "the end of\n\n<bos> <0x41> \u20AC \U0001F600 \xFF.", false);
    } catch (const ModelError&) {
    }
    return 0;
  }
  static const Tokenizer tiny =
      Tokenizer::load(std::filesystem::path(REELFOLIO_SOURCE_DIR) / "tests" / "golden" / "tokenizer");
  check_text(tiny, input, true);
  std::vector<PromptRun> runs(1);
  for (const char c : input) {
    if (c == 1) {
      runs.push_back({{}, !runs.back().trusted});
    } else {
      runs.back().text += c;
    }
  }
  for (const TokenId id : tiny.encode(runs)) require(!tiny.piece(id).empty());
  return 0;
}
