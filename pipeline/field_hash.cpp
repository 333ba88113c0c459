#include "pipeline/field_hash.h"

#include <openssl/evp.h>

#include <array>
#include <bit>
#include <cassert>
#include <stdexcept>

namespace reelfolio::pipeline {

struct FieldHash::Context {
  EVP_MD_CTX* evp = nullptr;
};

namespace {

void check(int result) {
  if (result != 1) throw std::runtime_error("libcrypto cannot compute SHA-256");
}

}  // namespace

FieldHash::FieldHash(std::string_view purpose) : context_(new Context{EVP_MD_CTX_new()}) {
  check(EVP_DigestInit_ex(context_->evp, EVP_sha256(), nullptr));
  text(purpose);
}

FieldHash::~FieldHash() {
  EVP_MD_CTX_free(context_->evp);
  delete context_;
}

FieldHash& FieldHash::bytes(std::span<const std::uint8_t> bytes) {
  std::array<std::uint8_t, 8> size{};
  for (std::size_t i = 0; i < size.size(); ++i) size[i] = static_cast<std::uint8_t>(bytes.size() >> (8 * i));
  check(EVP_DigestUpdate(context_->evp, size.data(), size.size()));
  check(EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()));
  return *this;
}

FieldHash& FieldHash::text(std::string_view text) {
  return bytes({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

FieldHash& FieldHash::number(double value) {
  return number(std::bit_cast<std::uint64_t>(value));
}

std::string FieldHash::finish() {
  std::string digest(32, '\0');
  unsigned int size = 0;
  check(EVP_DigestFinal_ex(context_->evp, reinterpret_cast<unsigned char*>(digest.data()), &size));
  assert(size == digest.size());
  return digest;
}

}  // namespace reelfolio::pipeline
