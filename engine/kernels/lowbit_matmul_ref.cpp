#include "engine/kernels/lowbit_matmul.h"

namespace reelfolio::engine::kernels {

void lowbit_matmul_ref(const LowBitArgs& args) {
  const std::size_t fields = 8 / static_cast<std::size_t>(args.bits);
  const std::size_t chunks = 128 / (16 * fields);
  const unsigned mask = (1U << static_cast<unsigned>(args.bits)) - 1;
  for (std::size_t block = args.first_block; block < args.last_block; ++block) {
    for (std::size_t r = 0; r < 4; ++r) {
      const std::size_t n = block * 4 + r;
      if (n >= args.out) return;
      for (std::size_t m = 0; m < args.rows; ++m) {
        const std::uint8_t* x = args.x + m * args.x_stride;
        std::int32_t sum = 0;
        for (std::size_t g = 0; g < args.groups; ++g) {
          const std::int8_t* level = args.levels[args.multipliers[(block * args.groups + g) * 4 + r]];
          for (std::size_t c = 0; c < chunks; ++c) {
            const std::uint8_t* bytes = args.codes + ((block * args.groups + g) * chunks + c) * 64 + r * 16;
            for (std::size_t j = 0; j < fields; ++j) {
              for (std::size_t i = 0; i < 16; ++i) {
                const unsigned code = (static_cast<unsigned>(bytes[i]) >> (j * args.bits)) & mask;
                sum += static_cast<std::int32_t>(level[code]) *
                       (static_cast<std::int32_t>(x[g * 128 + (c * fields + j) * 16 + i]) - 128);
              }
            }
          }
        }
        args.y[m * args.y_stride + n] = static_cast<float>(sum) * (args.row_scales[n] * args.x_scales[m]);
      }
    }
  }
}

}  // namespace reelfolio::engine::kernels
