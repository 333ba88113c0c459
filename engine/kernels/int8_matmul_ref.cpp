#include "engine/kernels/int8_matmul.h"

namespace reelfolio::engine::kernels {

void int8_matmul_ref(const Int8Args& args) {
  for (std::size_t tile = args.first_tile; tile < args.last_tile; ++tile) {
    for (std::size_t m = 0; m < args.rows; ++m) {
      const std::uint8_t* x = args.x + m * args.x_stride;
      for (std::size_t n = 0; n < 64 && tile * 64 + n < args.out; ++n) {
        std::int32_t sum = 0;
        for (std::size_t k = 0; k < args.input_tiles * 64; ++k) {
          const std::int8_t w =
              args.weights[(tile * args.input_tiles + k / 64) * 4096 + k % 64 / 4 * 256 + n * 4 + k % 4];
          sum += static_cast<std::int32_t>(w) * (static_cast<std::int32_t>(x[k]) - 128);
        }
        const std::size_t column = tile * 64 + n;
        args.y[m * args.y_stride + column] =
            static_cast<float>(sum) * (args.row_scales[column] * args.x_scales[m]);
      }
    }
  }
}

}  // namespace reelfolio::engine::kernels
