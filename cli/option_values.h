#pragma once

#include <cstddef>
#include <string>
#include <vector>

/// Which values options take, whether a flag or a variable gives them. What throws throws ConfigError with
/// a message that names the option, its value and what was expected.
namespace reelfolio::cli {

inline constexpr int kMaxThreads = 1024;
inline constexpr int kMaxDecoders = 256;

// Choices, in the order in which messages list them. kProgressModes and kLogLevels are in the order of
// ProgressMode and LogLevel; the first of kKernels is the default.
extern const std::vector<std::string> kPackedWeights;
extern const std::vector<std::string> kPinnings;
extern const std::vector<std::string> kKvTypes;
extern const std::vector<std::string> kPackedTables;
extern const std::vector<std::string> kWeights;
extern const std::vector<std::string> kKernels;
extern const std::vector<std::string> kProgressModes;
extern const std::vector<std::string> kLogLevels;

/// "prefill, decode, image, audio, prefill_512, decode_1, ...": what `bench --only` takes, groups, then
/// single cases.
std::vector<std::string> bench_items();

/// A whole number from min to max. `name` is what messages call the option.
long long parse_integer(const std::string& name, const std::string& text, long long min, long long max);

/// Returns `text`, which must be one of `choices`.
const std::string& check_choice(const std::string& name, const std::string& text,
                                const std::vector<std::string>& choices);

/// "I/N": the inputs whose recorded path hashes to the I-th of N shares, I from 1.
struct ShardFlag {
  std::size_t index = 1;
  std::size_t of = 1;
};
ShardFlag parse_shard(const std::string& text);

}  // namespace reelfolio::cli
