#define REELFOLIO_KERNEL_TABLE panel_matmul_ref
#define REELFOLIO_KERNEL_NAME "ref"
#define REELFOLIO_LANES 4
#define REELFOLIO_TILE_ROWS 2
#define REELFOLIO_SUMS 8
#include "engine/kernels/panel_matmul.inc"
