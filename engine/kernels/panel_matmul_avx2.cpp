#define REELFOLIO_KERNEL_TABLE panel_matmul_avx2
#define REELFOLIO_KERNEL_NAME "avx2"
#define REELFOLIO_LANES 8
#define REELFOLIO_TILE_ROWS 6
#define REELFOLIO_SUMS 11
#include "engine/kernels/panel_matmul.inc"
