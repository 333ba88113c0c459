#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/engine.h"
#include "engine/loaded_model.h"
#include "engine/soft_token_cache.h"
#include "engine/token_id.h"

namespace reelfolio::engine {

/// A picture or sound, as one group knows it.
struct PromptSource {
  SoftTokenSource source;
  int soft_tokens = 0;
  SoftTokenCache::Tokens rows;  ///< null until they are needed
  std::size_t uses = 0;         ///< stretches of prompts that still read rows
};

/// A request's prompt. `keys` tells positions apart across the requests of the group: a token id,
/// or source and row of a soft token.
struct Prompt {
  std::vector<TokenId> ids;
  std::vector<std::uint64_t> keys;
};

/// A position that is taken by a soft token, and by which.
struct SoftTokenKey {
  static constexpr std::uint64_t kBit = std::uint64_t{1} << 63;
  static bool is(std::uint64_t key) { return (key & kBit) != 0; }
  static std::uint64_t make(std::size_t source, std::size_t row) {
    return kBit | (std::uint64_t{source} << 32) | row;
  }
  static std::size_t source(std::uint64_t key) { return static_cast<std::size_t>((key & ~kBit) >> 32); }
  static std::size_t row(std::uint64_t key) { return static_cast<std::size_t>(key & 0xFFFFFFFFU); }
};

/// The prompts of a group's requests and the pictures and sounds in them. One thread at a time.
class GroupPrompts {
 public:
  /// Makes the prompt of a request, which need not live on. Throws RequestError for one that the
  /// model cannot take; no work is done on pictures and sounds. Returns its index in `prompts`.
  std::size_t add(const LoadedModel& model, const Request& request);

  std::vector<Prompt> prompts;
  std::vector<PromptSource> sources;

 private:
  std::size_t source_index(const LoadedModel& model, const SoftTokenSource& source);
  std::vector<std::size_t> source_indices(const LoadedModel& model, const Request& request);
};

}  // namespace reelfolio::engine
