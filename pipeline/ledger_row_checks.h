#pragma once

#include <cstdint>
#include <string>

/// Checksums of the ledger's rows, over all columns that a row's use rests on: SQLite has none, and a flipped
/// bit in a text leaves it a text. 32 bytes each. `path` is the native path of an input.
namespace reelfolio::pipeline {

std::string file_row_check(const std::string& path, const std::string& stamp, std::int64_t size,
                           const std::string& sha256, std::int64_t media);
std::string result_row_check(const std::string& path, const std::string& sha256, const std::string& made_by,
                             const std::string& result, const std::string& answers, std::int64_t failed);
std::string decoding_row_check(const std::string& path, const std::string& key, const std::string& events);
std::string answer_row_check(const std::string& key, const std::string& answer);

}  // namespace reelfolio::pipeline
