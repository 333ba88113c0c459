#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

/// Golden data of a tiny model: `model/` beside `golden/` with .safetensors and .json files.
namespace reelfolio::test {

struct GoldenTensor {
  std::vector<std::size_t> shape;
  std::vector<float> values;  ///< integers converted

  /// Columns, with all dimensions but the first in one.
  std::size_t cols() const { return values.size() / shape.front(); }
};

/// The tensors of a safetensors file of f32 and i32, read whole.
class GoldenTensors {
 public:
  explicit GoldenTensors(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error("cannot read " + path.string());
    bytes_.assign(std::istreambuf_iterator<char>(file), {});
    std::uint64_t size = 0;
    std::memcpy(&size, bytes_.data(), sizeof size);
    header_ =
        nlohmann::json::parse(bytes_.begin() + 8, bytes_.begin() + 8 + static_cast<std::ptrdiff_t>(size));
    data_ = 8 + size;
  }

  bool has(const std::string& name) const { return header_.contains(name); }

  GoldenTensor get(const std::string& name) const {
    if (!has(name)) throw std::runtime_error("no golden tensor " + name);
    const auto& entry = header_.at(name);
    GoldenTensor tensor;
    tensor.shape = entry.at("shape").get<std::vector<std::size_t>>();
    const std::size_t begin = entry.at("data_offsets").at(0);
    const std::size_t end = entry.at("data_offsets").at(1);
    tensor.values.resize((end - begin) / 4);
    if (entry.at("dtype") == "F32") {
      std::memcpy(tensor.values.data(), bytes_.data() + data_ + begin, end - begin);
    } else {
      std::vector<std::int32_t> integers(tensor.values.size());
      std::memcpy(integers.data(), bytes_.data() + data_ + begin, end - begin);
      std::copy(integers.begin(), integers.end(), tensor.values.begin());
    }
    return tensor;
  }

 private:
  std::vector<char> bytes_;
  nlohmann::json header_;
  std::size_t data_ = 0;
};

inline nlohmann::json golden_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("cannot read " + path.string());
  return nlohmann::json::parse(file);
}

/// The kits a golden test runs on: those kept for `subject`, or the one that
/// REELFOLIO_GOLDEN_DIR names.
inline std::vector<std::filesystem::path> golden_kits(const std::string& subject) {
  if (const char* kit = std::getenv("REELFOLIO_GOLDEN_DIR")) return {kit};
  const auto folder = std::filesystem::path(REELFOLIO_SOURCE_DIR) / "tests" / "golden" / subject;
  return {folder / "e4b", folder / "e2b"};
}

/// Largest absolute difference; infinite where sizes differ or a value is not finite.
template <class A, class B>
double worst_difference(const A& a, const B& b) {
  if (a.size() != b.size()) return INFINITY;
  double worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    if (!(difference <= worst)) worst = std::isfinite(difference) ? difference : INFINITY;
  }
  return worst;
}

}  // namespace reelfolio::test
