#include "pipeline/file_hash.h"

#include <openssl/evp.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <system_error>

#include "stages/system_message.h"

namespace reelfolio::pipeline {

namespace {

constexpr std::uintmax_t kMaxBytes = 64U * 1024 * 1024;

}  // namespace

std::string hex(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const char byte : bytes) {
    text += kDigits[static_cast<unsigned char>(byte) >> 4U];
    text += kDigits[static_cast<unsigned char>(byte) & 0xFU];
  }
  return text;
}

std::string sha256_of(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1) {
    throw std::runtime_error("libcrypto has no SHA-256");
  }
  return hex({reinterpret_cast<const char*>(digest.data()), size});
}

std::optional<std::string> sha256_of_file(const std::filesystem::path& file, std::string& error) {
  std::error_code code;
  const auto status = std::filesystem::status(file, code);
  if (!std::filesystem::exists(status)) {
    error = "no such file";
    return std::nullopt;
  }
  if (!std::filesystem::is_regular_file(status)) {
    error = "not a regular file";
    return std::nullopt;
  }
  const auto size = std::filesystem::file_size(file, code);
  if (!code && size > kMaxBytes) {
    error = "it has " + std::to_string(size) + " bytes, expected at most " + std::to_string(kMaxBytes);
    return std::nullopt;
  }
  errno = 0;
  std::ifstream stream(file, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
  if (!stream) {
    error = stages::system_message(errno != 0 ? errno : EIO);
    return std::nullopt;
  }
  return sha256_of(bytes);
}

}  // namespace reelfolio::pipeline
