#pragma once

#include <string>
#include <string_view>

#include "pipeline/graph_parser.h"

/// YAML text -> SpecValue. The text is untrusted: whatever it holds, the answer is a tree of
/// bounded size or a ConfigError, in bounded time.
namespace reelfolio::pipeline {

/// What a text may be at most. Real graphs are a hundredth of each.
struct YamlLimits {
  std::size_t bytes = 256U * 1024;
  std::size_t depth = 24;      ///< maps and lists inside each other
  std::size_t nodes = 50'000;  ///< with aliases expanded
};

/// Reads the one document of `yaml`. Duplicate keys, keys that are not text, tags other than
/// !!str, bytes that are not UTF-8, control characters and a second document are refused with
/// their place. Anchors, aliases and merge keys (`<<`) are expanded; a value that comes through
/// one keeps the place where it is written. No document at all gives null.
///
/// file  named in errors. `has_lines` false: `file` is no file but a flag, so that errors
///       name it alone and every place is line 0.
SpecValue read_yaml(std::string_view yaml, const std::string& file, bool has_lines = true,
                    const YamlLimits& limits = {});

}  // namespace reelfolio::pipeline
