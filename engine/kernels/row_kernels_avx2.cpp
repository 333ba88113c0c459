#include <immintrin.h>

#define REELFOLIO_KERNEL_TABLE row_kernels_avx2
#define REELFOLIO_KERNEL_NAME "avx2"
#define REELFOLIO_TILE 2
#define REELFOLIO_VECTOR_BYTES 32
#include "engine/kernels/row_kernels.inc"
