#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/safetensors.h"
#include "engine/tokenizer.h"
#include "tests/support/temp_folder.h"

/// Model directories made on the fly, and what went wrong with them.
namespace reelfolio::test {

std::filesystem::path golden_path(std::string_view name);
/// The tokenizer of the golden tokenizer and chat cases, loaded once.
const engine::Tokenizer& golden_tokenizer();
std::string read_text(const std::filesystem::path& path);

/// A tensor of a safetensors file to be written; `bytes` fills up to the shape's size
/// with the values 0, 1, 2, ... (modulo 251) where it is empty.
struct TensorSpec {
  std::string name;
  std::string dtype = "F32";
  std::vector<std::uint64_t> shape;
  std::string bytes;
};

/// The bytes of a valid file that holds `tensors` one after the other.
std::string safetensors_file(const std::vector<TensorSpec>& tensors);
/// The same from a header and the data behind it, whatever they say.
std::string safetensors_file(std::string_view header, std::string_view data);

/// The message of the ModelError that `action` throws; "" if it throws none.
std::string model_error(const std::function<void()>& action);

}  // namespace reelfolio::test
