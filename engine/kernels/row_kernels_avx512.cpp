#include <immintrin.h>

#define REELFOLIO_KERNEL_TABLE row_kernels_avx512
#define REELFOLIO_KERNEL_NAME "avx512"
#define REELFOLIO_TILE 4
#define REELFOLIO_VECTOR_BYTES 64
#include "engine/kernels/row_kernels.inc"
