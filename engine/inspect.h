#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/ops/matmul.h"

namespace reelfolio::engine {

/// What a model directory holds and what it lacks: `reelfolio model inspect DIR`.
struct ModelInspection {
  std::string directory;
  /// "Gemma 4 E4B", "Gemma 4 E2B", or the sizes of another text decoder; empty without a config.
  std::string architecture;
  std::optional<ModelConfig> config;

  struct Amount {
    std::size_t tensors = 0;
    std::uint64_t parameters = 0;
    std::uint64_t bytes = 0;
  };
  /// By part: "decoder layers", "token embedding", "per-layer embedding", "vision tower",
  /// "audio tower", "other".
  std::map<std::string, Amount> parts;
  /// By element type, as safetensors spells it.
  std::map<std::string, Amount> types;
  Amount total;

  /// Files that are missing, corrupt or beyond this engine, as ModelError words it.
  std::vector<std::string> problems;
  /// Names of tensors that the engine reads and the checkpoint lacks.
  std::vector<std::string> missing;
  /// "FILE: tensor 'a.weight' is [768, 588], expected [768, 768]".
  std::vector<std::string> misshapen;
  /// Names of tensors that nothing reads: unknown ones, and keys and values of shared-KV
  /// layers. Those of an audio tower without audio_config are listed in `parts` alone.
  std::vector<std::string> unused;

  struct TokenizerFacts {
    std::size_t vocab_size = 0;
    std::size_t merges = 0;
    std::size_t added_tokens = 0;
    std::size_t special_tokens = 0;
  };
  std::optional<TokenizerFacts> tokenizer;
  std::optional<std::string> fingerprint;

  /// The type of a packed directory's matrices; its weights are `memory_packed_bytes` in memory.
  std::optional<ops::WeightType> packed;
  std::uint64_t memory_packed_bytes = 0;
  std::uint64_t audio_memory_packed_bytes = 0;

  /// Of a plain directory: weights held in memory when every linear layer is f32 or bf16, without activations
  /// and KV cache; the embedding tables stay in the mapped file.
  std::uint64_t memory_f32_bytes = 0;
  std::uint64_t memory_bf16_bytes = 0;
  /// The audio tower's, held beside them once a request has sound; 0 without one.
  std::uint64_t audio_memory_f32_bytes = 0;
  std::uint64_t audio_memory_bf16_bytes = 0;

  /// Whether text, pictures and sound can be answered: nothing missing, misshapen or unreadable.
  bool usable() const { return problems.empty() && missing.empty() && misshapen.empty(); }
};

/// Reads headers and settings, and in a packed directory everything, to compare it with its checksums; never
/// throws ModelError, but reports.
ModelInspection inspect_model(const std::filesystem::path& dir);

/// For people: lines of "name   value", at most `most_names` names of each list.
std::string inspection_text(const ModelInspection& inspection, std::size_t most_names = 10);

}  // namespace reelfolio::engine
