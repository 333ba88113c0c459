#pragma once

#include <cstddef>
#include <cstdint>

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4: "123456789" gives 0xE3069283), for files whose damage must
/// show and whose checking must not take longer than reading them.
namespace reelfolio::engine::kernels {

/// The sums of `count` stretches that follow each other from `data` on, each of `size` bytes.
using Crc32cFunction = void (*)(const std::byte* data, std::size_t size, std::size_t count,
                                std::uint32_t* sums);

void crc32c_ref(const std::byte* data, std::size_t size, std::size_t count, std::uint32_t* sums);
#if defined(__x86_64__)
/// Through the processor's own instruction (SSE 4.2), four stretches at a time.
void crc32c_sse42(const std::byte* data, std::size_t size, std::size_t count, std::uint32_t* sums);
#endif

/// The fastest that this processor has. All give the same sums, so nothing forces one.
Crc32cFunction crc32c_function();

}  // namespace reelfolio::engine::kernels
