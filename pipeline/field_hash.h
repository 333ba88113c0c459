#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace reelfolio::pipeline {

/// SHA-256 over fields, each with its length in front, so that no two lists of fields come to the
/// same bytes. Numbers count by value. One thread.
class FieldHash {
 public:
  /// `purpose` keeps the hashes of one use apart from those of others.
  explicit FieldHash(std::string_view purpose);
  ~FieldHash();
  FieldHash(const FieldHash&) = delete;
  FieldHash& operator=(const FieldHash&) = delete;

  FieldHash& text(std::string_view bytes);
  FieldHash& bytes(std::span<const std::uint8_t> bytes);
  FieldHash& number(double value);
  template <std::integral Integer>
  FieldHash& number(Integer value) {
    return text(std::to_string(value));
  }

  /// The 32 bytes; the object takes no more fields then.
  std::string finish();

 private:
  struct Context;
  Context* context_;
};

}  // namespace reelfolio::pipeline
