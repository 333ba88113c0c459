#include "cli/option_values.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <system_error>

#include "engine/bench.h"
#include "pipeline/error.h"
#include "pipeline/names.h"

namespace reelfolio::cli {

using pipeline::ConfigError;

const std::vector<std::string> kPackedWeights = {"bf16", "int8", "int4", "int2"};
const std::vector<std::string> kPinnings = {"auto", "on", "off"};
const std::vector<std::string> kKvTypes = {"auto", "f32", "bf16", "int8"};
const std::vector<std::string> kPackedTables = {"keep", "int8"};
const std::vector<std::string> kWeights = {"bf16", "f32", "int8", "int4", "int2"};
const std::vector<std::string> kKernels = {"auto", "avx512", "avx2", "ref"};
const std::vector<std::string> kProgressModes = {"auto", "plain", "json", "none"};
const std::vector<std::string> kLogLevels = {"error", "warning", "info", "debug"};

std::vector<std::string> bench_items() {
  std::vector<std::string> groups;
  std::vector<std::string> cases;
  for (const engine::BenchCase& each : engine::bench_cases()) {
    const std::string group(each.name.substr(0, each.name.find('_')));
    if (groups.empty() || groups.back() != group) groups.push_back(group);
    cases.emplace_back(each.name);
  }
  groups.emplace_back("mask");
  groups.insert(groups.end(), cases.begin(), cases.end());
  return groups;
}

long long parse_integer(const std::string& name, const std::string& text, long long min, long long max) {
  long long value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || value < min || value > max) {
    throw ConfigError(name + " is " + pipeline::in_quotes(text) + ", expected a whole number from " +
                      std::to_string(min) + " to " + std::to_string(max));
  }
  return value;
}

const std::string& check_choice(const std::string& name, const std::string& text,
                                const std::vector<std::string>& choices) {
  if (std::ranges::find(choices, text) == choices.end()) {
    throw ConfigError(name + " is " + pipeline::in_quotes(text) + ", expected " +
                      pipeline::joined(choices, " or "));
  }
  return text;
}

ShardFlag parse_shard(const std::string& text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string::npos) {
    throw ConfigError("--shard is " + pipeline::in_quotes(text) + ", expected I/N, such as 1/4");
  }
  ShardFlag shard;
  shard.of = static_cast<std::size_t>(
      parse_integer("N of --shard I/N", text.substr(slash + 1), 1, std::numeric_limits<int>::max()));
  shard.index = static_cast<std::size_t>(
      parse_integer("I of --shard I/N", text.substr(0, slash), 1, static_cast<long long>(shard.of)));
  return shard;
}

}  // namespace reelfolio::cli
