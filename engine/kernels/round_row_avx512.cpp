#define REELFOLIO_ROUND_ROW round_row_avx512
#define REELFOLIO_VECTOR_BYTES 64
#include "engine/kernels/round_row.inc"
