#include "tests/engine/model_files.h"

#include <stdlib.h>

#include <fstream>
#include <iterator>
#include <stdexcept>
#include <system_error>

#include "engine/error.h"

namespace reelfolio::test {

std::filesystem::path golden_path(std::string_view name) {
  return std::filesystem::path(REELFOLIO_SOURCE_DIR) / "tests" / "golden" / name;
}

const engine::Tokenizer& golden_tokenizer() {
  static const engine::Tokenizer tokenizer = engine::Tokenizer::load(golden_path("tokenizer"));
  return tokenizer;
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("open " + path.string());
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string safetensors_file(std::string_view header, std::string_view data) {
  std::string file;
  for (int i = 0; i < 8; ++i) file += static_cast<char>((header.size() >> (8 * i)) & 0xFF);
  file += header;
  file += data;
  return file;
}

std::string safetensors_file(const std::vector<TensorSpec>& tensors) {
  std::string header = "{\"__metadata__\":{\"format\":\"pt\"}";
  std::string data;
  for (const TensorSpec& tensor : tensors) {
    std::size_t size = tensor.dtype == "F32" ? 4 : tensor.dtype == "BF16" || tensor.dtype == "F16" ? 2 : 1;
    std::string shape;
    for (const std::uint64_t dimension : tensor.shape) {
      size *= dimension;
      shape += (shape.empty() ? "" : ",") + std::to_string(dimension);
    }
    std::string bytes = tensor.bytes;
    while (bytes.size() < size) bytes += static_cast<char>(bytes.size() % 251);
    header += ",\"" + tensor.name + "\":{\"dtype\":\"" + tensor.dtype + "\",\"shape\":[" + shape +
              "],\"data_offsets\":[" + std::to_string(data.size()) + "," +
              std::to_string(data.size() + bytes.size()) + "]}";
    data += bytes;
  }
  return safetensors_file(header + "}", data);
}

std::string model_error(const std::function<void()>& action) {
  try {
    action();
  } catch (const engine::ModelError& error) {
    return error.what();
  }
  return "";
}

}  // namespace reelfolio::test
