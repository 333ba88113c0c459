#include "engine/fingerprint.h"

#include <openssl/evp.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string_view>

#include "engine/error.h"
#include "engine/json.h"

namespace reelfolio::engine {
namespace {

constexpr std::size_t kWholeBytes = std::size_t{16} << 10;
constexpr std::size_t kSampleBytes = std::size_t{4} << 10;
constexpr std::size_t kBlocks = 4;
constexpr std::size_t kMostFileBytes = std::size_t{512} << 20;
constexpr std::array<std::string_view, 5> kFiles = {"config.json", "generation_config.json",
                                                    "processor_config.json", "preprocessor_config.json",
                                                    "tokenizer.json"};

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    check(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
  }

  void number(std::uint64_t value) {
    std::array<unsigned char, 8> bytes{};
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<unsigned char>(value >> (8 * i));
    update(bytes.data(), bytes.size());
  }
  void field(std::string_view text) {
    number(text.size());
    update(text.data(), text.size());
  }
  void field(std::span<const std::byte> bytes) {
    number(bytes.size());
    update(bytes.data(), bytes.size());
  }

  std::string hex() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    check(EVP_DigestFinal_ex(context_.get(), digest.data(), &size) == 1);
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    for (unsigned i = 0; i < size; ++i) {
      text += kDigits[digest[i] >> 4];
      text += kDigits[digest[i] & 15];
    }
    return text;
  }

 private:
  static void check(bool fine) {
    if (!fine) throw std::runtime_error("OpenSSL offers no SHA-256");
  }
  void update(const void* data, std::size_t size) {
    check(EVP_DigestUpdate(context_.get(), data, size) == 1);
  }

  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

std::string model_fingerprint(const std::filesystem::path& dir, const Checkpoint& checkpoint) {
  Sha256 hash;
  hash.field("reelfolio model 1");
  for (const std::string_view name : kFiles) {
    const std::optional<std::string> contents = read_optional_model_file(dir / name, kMostFileBytes);
    hash.field(name);
    hash.number(contents ? 1 : 0);
    hash.field(contents ? std::string_view(*contents) : std::string_view());
  }
  for (const TensorView& tensor : checkpoint.tensors()) {
    hash.field(tensor.name);
    hash.field(dtype_name(tensor.dtype));
    hash.number(tensor.shape.size());
    for (const std::size_t size : tensor.shape) hash.number(size);
    const std::size_t size = tensor.bytes.size();
    if (size <= kWholeBytes) {
      hash.field(tensor.bytes);
      continue;
    }
    for (std::size_t k = 0; k < kBlocks; ++k) {
      hash.field(tensor.bytes.subspan((size - kSampleBytes) / (kBlocks - 1) * k +
                                          (size - kSampleBytes) % (kBlocks - 1) * k / (kBlocks - 1),
                                      kSampleBytes));
    }
  }
  return hash.hex();
}

}  // namespace reelfolio::engine
