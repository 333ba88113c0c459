#define REELFOLIO_ROUND_ROW round_row_avx512
#include "engine/kernels/round_row.inc"
