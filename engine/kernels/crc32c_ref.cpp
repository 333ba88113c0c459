#include <array>

#include "engine/kernels/crc32c.h"

namespace reelfolio::engine::kernels {
namespace {

constexpr std::uint32_t kPolynomial = 0x82F63B78;  // bits reversed

/// The sum's change for each byte, 0 to 7 zero bytes before the end.
constexpr auto make_crc_tables() {
  std::array<std::array<std::uint32_t, 256>, 8> tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t sum = byte;
    for (int bit = 0; bit < 8; ++bit) sum = (sum >> 1) ^ ((sum & 1) != 0 ? kPolynomial : 0);
    tables[0][byte] = sum;
  }
  for (std::size_t t = 1; t < tables.size(); ++t) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t before = tables[t - 1][byte];
      tables[t][byte] = (before >> 8) ^ tables[0][before & 255];
    }
  }
  return tables;
}
constexpr auto kCrcTables = make_crc_tables();

std::uint32_t crc32c_of(const std::byte* data, std::size_t size) {
  const auto byte = [](std::byte b) { return static_cast<std::uint32_t>(b); };
  std::uint32_t sum = 0xFFFFFFFFU;
  for (; size >= 8; size -= 8, data += 8) {
    std::uint32_t next = 0;
    for (std::size_t i = 0; i < 8; ++i) {
      const std::uint32_t part = i < 4 ? (sum >> (8 * i)) & 255 : 0;
      next ^= kCrcTables[7 - i][byte(data[i]) ^ part];
    }
    sum = next;
  }
  for (; size > 0; --size, ++data) sum = (sum >> 8) ^ kCrcTables[0][(sum ^ byte(*data)) & 255];
  return ~sum;
}

}  // namespace

void crc32c_ref(const std::byte* data, std::size_t size, std::size_t count, std::uint32_t* sums) {
  for (std::size_t i = 0; i < count; ++i) sums[i] = crc32c_of(data + i * size, size);
}

Crc32cFunction crc32c_function() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2") != 0) return crc32c_sse42;
#endif
  return crc32c_ref;
}

}  // namespace reelfolio::engine::kernels
