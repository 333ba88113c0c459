#define REELFOLIO_ROUND_ROW round_row_ref
#include "engine/kernels/round_row.inc"
