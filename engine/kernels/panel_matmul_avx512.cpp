#define REELFOLIO_KERNEL_TABLE panel_matmul_avx512
#define REELFOLIO_KERNEL_NAME "avx512"
#define REELFOLIO_LANES 16
#define REELFOLIO_TILE_ROWS 12
#define REELFOLIO_SUMS 24
#include "engine/kernels/panel_matmul.inc"
