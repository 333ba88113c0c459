#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace reelfolio::pipeline {

/// Two lower-case digits for each byte.
std::string hex(std::string_view bytes);

/// SHA-256 as lower-case hex.
std::string sha256_of(std::string_view bytes);

/// SHA-256 of a regular file's content, which is not to be longer than 64 MiB: schemas and
/// prompts are small. Empty where it cannot be read; `error` then says why.
std::optional<std::string> sha256_of_file(const std::filesystem::path& file, std::string& error);

}  // namespace reelfolio::pipeline
