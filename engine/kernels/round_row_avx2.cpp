#define REELFOLIO_ROUND_ROW round_row_avx2
#define REELFOLIO_VECTOR_BYTES 32
#include "engine/kernels/round_row.inc"
