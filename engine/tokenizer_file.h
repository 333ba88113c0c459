#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "engine/added_tokens.h"
#include "engine/byte_pairs.h"
#include "engine/piece_table.h"

namespace reelfolio::engine {

/// A tokenizer.json as tables, checked to be of the one kind that the engine implements
/// (gemma4.md, section 10).
struct TokenizerTables {
  PieceTable pieces;
  std::vector<AddedToken> added_tokens;
  /// By rank, as in the file. A merge whose result is a special token keeps its rank, but
  /// has kNone on the left: control tokens come from added_tokens alone, so that no text
  /// can spell one in pieces.
  std::vector<BytePairs::Merge> merges;
};

/// `file` is the name for messages. Throws ModelError naming file and key.
TokenizerTables read_tokenizer_json(std::string_view json, const std::string& file);

}  // namespace reelfolio::engine
