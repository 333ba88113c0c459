#define REELFOLIO_ROUND_ROW round_row_avx2
#include "engine/kernels/round_row.inc"
