#pragma once

#include <filesystem>
#include <string>

namespace reelfolio::pipeline {

/// What changes with a file, as text: size, modification and change time, device and inode. Empty where the
/// file cannot be told from one that is being written just now, and where there is no regular file.
std::string file_stamp(const std::filesystem::path& path);

}  // namespace reelfolio::pipeline
