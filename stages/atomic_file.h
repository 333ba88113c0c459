#pragma once

#include <filesystem>
#include <string_view>

namespace reelfolio::stages {

/// Writes `text` to `path` as a whole or not at all, also where the power goes: temporary file in the
/// same folder, fsync, rename, fsync of the folder. Throws OutputError (write_jsonl.h).
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

}  // namespace reelfolio::stages
