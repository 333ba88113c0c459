#define REELFOLIO_KERNEL_TABLE row_kernels_ref
#define REELFOLIO_KERNEL_NAME "ref"
#define REELFOLIO_TILE 1
#define REELFOLIO_VECTOR_BYTES 16
#include "engine/kernels/row_kernels.inc"
