#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace reelfolio::engine {

/// Pieces of an invented tokenizer.json.
inline constexpr std::size_t kSyntheticVocabSize = 262144;

/// An invented tokenizer.json of the release's size and layout: 262,144 pieces in
/// several scripts, 514,906 merges (every split of a piece into two others is one, as
/// in the release, forming order kept), control tokens, byte tokens, indented by two.
/// `pairs` writes merges as ["a", "b"], otherwise as "a b". The same for every call.
std::string synthetic_tokenizer_json(bool pairs);

/// `bytes` of text (a little more) made of that tokenizer's words, single spaces and a
/// newline now and then.
std::string synthetic_text(std::size_t bytes, std::uint64_t seed);

}  // namespace reelfolio::engine
